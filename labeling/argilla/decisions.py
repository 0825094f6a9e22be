"""Decisions on divided prompts that a server has lost, as queues to publish again. Pure functions.

They are in a workspace of their own, beside the round's. Only `labeling adjudicate` puts prompts there, so a round that
is published again would leave it empty.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from labeling.adjudication import with_opinions
from labeling.backend import AnnotatorAnswer, Queue, Round, adjudication_of, is_adjudication
from labeling.server.copied import Copy


def decision_queues(asked: Round, names: Iterable[str]) -> list[str]:
    """Return those of the queues that have decisions on this round; there are none on a round of decisions."""
    wanted = {adjudication_of(queue.name) for queue in asked.queues if not is_adjudication(queue.name)}
    return [name for name in names if is_adjudication(name) and adjudication_of(name) in wanted]


def lost_decisions(copies: Mapping[str, Sequence[Copy]], there: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return queue -> decided tasks that the server has no more, without queues that have lost none.

    `copies` has the snapshots of the queues with decisions, `there` the tasks of each of them on the server.
    """
    lost = {name: {copy["task"] for copy in own} - set(there.get(name, ())) for name, own in copies.items()}
    return {name: tasks for name, tasks in lost.items() if tasks}


def queues_with_opinions(
    asked: Round, tasks: Mapping[str, Collection[str]], opinions: Iterable[AnnotatorAnswer]
) -> list[Queue]:
    """Return the queues to publish, from queue -> tasks of the round, which show the opinions as they are now."""
    given: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    for answer in opinions:
        given[answer["task"]].append(answer)
    known = [task for queue in asked.queues for task in queue.tasks]
    return [
        Queue(name, [with_opinions(task, given[task["id"]]) for task in known if task["id"] in wanted], 1)
        for name, wanted in tasks.items()
    ]
