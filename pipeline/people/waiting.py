"""Reads people's answers. If there are too few, the command ends or waits for more."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from labeling.backend import AnnotatorAnswer, Progress, Round, progress
from pipeline.config.schema import CollectConfig, SynthesizeConfig
from pipeline.console import counting
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.people.annotators import People
from pipeline.people.rounds import complete_only, waiting_text

POLL = 5.0  # seconds between two requests to the server, with <stage>.wait=true
PATIENCE = 60  # failed requests in a row before waiting ends


def ask(
    stage: str,
    config: CollectConfig | SynthesizeConfig,
    people: People,
    say: Callable[[str], None],
    asked: Round,
    usable: Callable[[Sequence[AnnotatorAnswer]], bool],
    partial_text: Callable[[Round, Sequence[AnnotatorAnswer]], str],
) -> dict[str, Any]:
    """Return all submitted and discarded answers of a round; publish its tasks first if they are missing.

    Returns `{"answers": …, "whole": whether every task has all its answers}`. With `accept=partial`, `usable` decides
    whether the answers to complete tasks are enough; `partial_text` describes them in the message.
    Raises `WaitingForPeople` if there are not enough answers.
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
    absent = [name for name, number in so_far.by_annotator.items() if not number]
    if not so_far.done and absent:
        say(f"without {', '.join(absent)}, who gave no answer; tasks count as complete without them")
    return {"answers": chosen, "whole": so_far.done}


def _looked(people: People, asked: Round) -> tuple[list[AnnotatorAnswer], Progress]:
    answers = people.answers(asked)
    return answers, progress(asked, answers, people.names)


def _awaited(people: People, asked: Round) -> tuple[list[AnnotatorAnswer], Progress]:
    """Request the answers every `POLL` seconds until all tasks are answered.

    Raises the server's error after `PATIENCE` failures in a row.
    """
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
