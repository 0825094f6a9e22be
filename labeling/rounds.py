"""From the answers to a round to rankings. Pure functions."""

from collections import defaultdict
from collections.abc import Collection, Iterable

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
