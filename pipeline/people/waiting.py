"""Looking at what people have answered: enough, or the command ends and waits for them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from labeling.backend import AnnotatorAnswer, Progress, Round, progress
from pipeline.config.schema import CollectConfig, SynthesizeConfig
from pipeline.console import counting
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.people.annotators import People
from pipeline.people.rounds import complete_only, waiting_text

POLL = 5.0  # seconds between two looks at a server, with <stage>.wait=true
PATIENCE = 60  # looks in a row at a server that does not answer


def ask(
    stage: str,
    config: CollectConfig | SynthesizeConfig,
    people: People,
    say: Callable[[str], None],
    asked: Round,
    usable: Callable[[Sequence[AnnotatorAnswer]], bool],
    partial_text: Callable[[Round, Sequence[AnnotatorAnswer]], str],
) -> dict[str, Any]:
    """All submitted and discarded answers of a round, once there are enough; the tasks are put there if need be.

    Returns `{"answers": …, "whole": whether every task has all its answers}`. With `accept=partial`, `usable` says
    whether the answers to complete tasks are worth going on with; `partial_text` tells people what they come to.
    Raises `WaitingForPeople` if there are not enough.
    """
    added = people.publish(asked)
    if added:
        say(f"{added:,} tasks put on {people.address}")
    invited = people.invite()
    if invited:
        say(f"invitations (private) for {', '.join(invited)}: {people.invitations}")
    answers, so_far = _awaited(people, asked) if config.wait else _looked(people, asked)
    chosen = answers if so_far.done else complete_only(asked, answers)
    if not so_far.done and (config.accept != "partial" or not usable(chosen)):
        raise WaitingForPeople(
            f"{waiting_text(asked, so_far, people.workspace)}\n"
            f"Annotators  {people.address}   invitations: {people.invitations}",
            stage,
            partial_text(asked, answers),
        )
    return {"answers": chosen, "whole": so_far.done}


def _looked(people: People, asked: Round) -> tuple[list[AnnotatorAnswer], Progress]:
    answers = people.answers(asked)
    return answers, progress(asked, answers, people.names)


def _awaited(people: People, asked: Round) -> tuple[list[AnnotatorAnswer], Progress]:
    """Looks again and again until all is answered; a server that is away for a while is borne with."""
    missed = 0
    with counting(sum(len(queue.tasks) * queue.overlap for queue in asked.queues)) as show:
        while True:
            try:
                answers, so_far = _looked(people, asked)
                missed = 0
                show(so_far.answers, so_far.by_annotator)
                if so_far.done:
                    return answers, so_far
            except RequestError:
                raise
            except PipelineError:
                missed += 1
                if missed == PATIENCE:
                    raise
            time.sleep(POLL)
