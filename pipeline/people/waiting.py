"""Reads people's answers. If there are too few, the command ends or waits for more."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labeling.backend import AnnotatorAnswer, Progress, Round, answers_needed, progress
from pipeline.config.nodes.demonstrations import SynthesizeConfig
from pipeline.config.nodes.people import AbtestConfig, CollectConfig
from pipeline.console import counting
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.people.annotators import People
from pipeline.people.rounds import complete_only, waiting_text

POLL = 5.0  # seconds between two requests to the server, with <stage>.wait=true
PATIENCE = 60  # failed requests in a row before waiting ends


def ask(
    stage: str,
    config: CollectConfig | SynthesizeConfig | AbtestConfig,
    people: People,
    say: Callable[[str], None],
    asked: Round,
    usable: Callable[[Sequence[AnnotatorAnswer]], bool],
    partial_text: Callable[[Round, Sequence[AnnotatorAnswer]], str],
    standing: int = 0,
    is_enough: Callable[[Sequence[AnnotatorAnswer]], bool] = lambda answers: False,
) -> dict[str, Any]:
    """Return all submitted and discarded answers of a round; publish its tasks first if they are missing.

    Returns `{"answers": …, "whole": whether every task has all its answers}`. With `accept=partial`, `usable` decides
    whether the answers to complete tasks are enough; `partial_text` describes them in the message. If `is_enough` is
    true of these answers, no more are needed either way. A round that had all its answers (`standing` of them) stays
    whole when people are added. Raises `WaitingForPeople` if there are not enough answers.
    """
    _invite(people, asked, say)
    answers, so_far = _awaited(people, asked, standing, is_enough) if config.wait else _looked(people, asked)
    if others := left_out_text(so_far, people.names):
        say(others)
    whole = so_far.done or 0 < standing <= len(answers)
    chosen = answers if whole else complete_only(asked, answers)
    if not (whole or is_enough(chosen)) and (config.accept != "partial" or not usable(chosen)):
        raise WaitingForPeople(
            f"{waiting_text(asked, so_far, people.workspace)}\n"
            f"Annotators  {people.address}   invitations: {people.invitations}",
            stage,
            partial_text(asked, answers),
        )
    absent = [name for name, number in so_far.by_annotator.items() if not number]
    if not whole and absent:
        say(f"without {', '.join(absent)}, who gave no answer; tasks count as complete without them")
    if standing and (left := left_text(asked, answers, so_far)):
        say(left)
    return {"answers": chosen, "whole": whole}


def _invite(people: People, asked: Round, say: Callable[[str], None]) -> None:
    """Publish the tasks that are missing, and invite people without an account."""
    added = people.publish(asked)
    if added:
        say(f"{added:,} tasks put on {people.address}")
    invited = people.invite()
    if invited:
        say(f"invitations (private) for {', '.join(invited)}: {people.invitations}")


def uninvited(people: People) -> list[str]:
    """Return the named people without an invitation and without an answer in the project.

    Empty on a machine that has invited no one: a copy of the project there starts no server.
    """
    if not people.named or not people.invitations.is_dir():
        return []
    names = [name for name in people.names if not (people.invitations / f"{name}.txt").exists()]
    answered = people.answered if names else set()
    return [name for name in names if name not in answered]


def left_text(asked: Round, answers: Sequence[AnnotatorAnswer], so_far: Progress) -> str:
    """Return what is left for whom in a round that stands, for people who were added to it; empty without any."""
    given, own = Counter(one["task"] for one in answers), {(one["annotator"], one["task"]) for one in answers}
    needed = answers_needed(asked, answers)
    tasks = [task["id"] for queue in asked.queues for task in queue.tasks if given[task["id"]] < needed[task["id"]]]
    left = {name: sum((name, task) not in own for task in tasks) for name in so_far.by_annotator}
    if any(left.values()):
        return f"left to answer: {_listed(left)}. The rest stands; `stage=collect` adds what they answer"
    absent = [name for name, number in so_far.by_annotator.items() if not number]
    most = max(queue.most or queue.overlap for queue in asked.queues)
    nothing = f"nothing is left for {', '.join(absent)}: labeling.overlap={most + 1} asks for more answers to each task"
    return nothing if absent else ""


def left_out_text(so_far: Progress, names: Sequence[str]) -> str:
    """Return what it means that people who have answered are not in `labeling.annotators`; empty without any."""
    others = {name: number for name, number in so_far.by_annotator.items() if number and name not in names}
    if not others:
        return ""
    chosen = shlex.quote(f"preferences.exclude={json.dumps(sorted(others), ensure_ascii=False)}")
    return (
        f"not in labeling.annotators: {_listed(others)}. Their answers count, and their accounts stay: "
        f"`python -m labeling users remove NAME` ends access, and {chosen} leaves their votes out"
    )


def _listed(left: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in left.items() if number)


def _looked(people: People, asked: Round) -> tuple[list[AnnotatorAnswer], Progress]:
    answers = people.answers(asked)
    return answers, progress(asked, answers, people.names)


def _awaited(
    people: People, asked: Round, standing: int, is_enough: Callable[[Sequence[AnnotatorAnswer]], bool]
) -> tuple[list[AnnotatorAnswer], Progress]:
    """Request the answers every `POLL` seconds until all tasks are answered, or there are enough of them.

    `standing` answers are enough, and those that `is_enough` accepts.

    Raises the server's error after `PATIENCE` failures in a row.
    """
    missed = 0
    with counting(sum(len(queue.tasks) * queue.overlap for queue in asked.queues)) as show:
        while True:
            try:
                answers, so_far = _looked(people, asked)
                missed = 0
                show(so_far.answers, so_far.by_annotator)
                if so_far.done or 0 < standing <= len(answers) or is_enough(complete_only(asked, answers)):
                    return answers, so_far
            except RequestError:
                raise
            except PipelineError:
                missed += 1
                if missed == PATIENCE:
                    raise
            time.sleep(POLL)
