"""From the answers to a round to rankings. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from labeling.backend import AnnotatorAnswer
from labeling.records import Ranking, Ranks, Task


def rankings_of(
    tasks: Iterable[Task], answers: Iterable[AnnotatorAnswer], guidelines: str, leave_out: Collection[str] = ()
) -> list[Ranking]:
    """One row of rankings per task, in the order of the tasks, as the contract defines them.

    Each submitted answer has its comment and the version of the `guidelines`. Tasks without a ranking and tasks in
    `leave_out` (repeats and gold) have no row.
    """
    given: dict[str, list[Ranks]] = defaultdict(list)
    for answer in answers:
        if answer["ranks"] is not None:
            row = Ranks(annotator=answer["annotator"], ranks=answer["ranks"], guidelines=guidelines)
            if answer["comment"]:
                row["comment"] = answer["comment"]
            if answer.get("both_bad"):
                row["both_bad"] = True
            given[answer["task"]].append(row)
    return [
        Ranking(id=task["id"], prompt=task["prompt"], responses=task["responses"], rankings=rows)
        for task in tasks
        if task["id"] not in leave_out and (rows := given.get(task["id"]))
    ]


def complete_only(answers: Sequence[AnnotatorAnswer], overlaps: Mapping[str, int]) -> list[AnnotatorAnswer]:
    """The answers to tasks that have as many answers as they need, by default one; `overlaps` maps tasks to it.

    A task needs no more answers than there are people who have answered at all: the work of the others counts even if
    one of the named people never came.
    """
    given = Counter(answer["task"] for answer in answers)
    came = len({answer["annotator"] for answer in answers})
    return [answer for answer in answers if given[answer["task"]] >= min(overlaps.get(answer["task"], 1), came)]
