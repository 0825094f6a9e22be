"""Prompts on which annotators stay divided, as tasks for one person who sees all opinions. Pure functions.

The tasks have the ids of the originals and lie in a workspace of their own, so no other annotator sees them. The
answer counts as one more opinion; the others are kept.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from labeling.argilla.page import OPINIONS
from labeling.backend import AnnotatorAnswer
from labeling.markdown import markdown_text
from labeling.projects import AnsweredRound
from labeling.questions import LETTERS
from labeling.records import Message, Task
from labeling.server.inside.opinions import are_settled


class Divided(NamedTuple):
    """The tasks to adjudicate, and the number of those that still get another opinion."""

    tasks: list[Task]
    waiting: int


def divided(asked: AnsweredRound, needed: Mapping[str, int], known: Collection[str]) -> Divided:
    """The tasks of a round with as many votes on each side of some pair, without repeats, gold and `known` ones.

    `needed` maps a task to the most answers that it gets; until it has them, it waits.
    """
    leave_out = {*asked.checks["repeats"], *asked.checks["gold"], *known}
    given: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    for answer in asked.answers:
        given[answer["task"]].append(answer)
    found, waiting = [], 0
    for task in asked.tasks:
        own = given[task["id"]]
        ranks = [answer["ranks"] for answer in own if answer["ranks"] is not None]
        if task["id"] not in leave_out and not are_settled(ranks):
            if len(own) >= needed.get(task["id"], 0):
                found.append(with_opinions(task, own))
            else:
                waiting += 1
    return Divided(found, waiting)


def with_opinions(task: Task, answers: Sequence[AnnotatorAnswer]) -> Task:
    """The task with a last turn that shows each annotator's ranks, and the comments below: a table stays narrow."""
    letters = LETTERS[: len(task["responses"])]
    rows, comments = [["", *letters], ["---"] * (len(letters) + 1)], list[str]()
    for answer in sorted(answers, key=lambda one: one["annotator"]):
        name = markdown_text(answer["annotator"])
        ranks = [str(rank) for rank in answer["ranks"]] if answer["ranks"] else ["–"] * len(letters)
        rows.append([name, *ranks])
        if answer["comment"]:
            comments.append(f"- **{name}**: {markdown_text(answer['comment'])}")
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    content = "\n".join([table, "", *comments]).strip()
    return {**task, "prompt": [*task["prompt"], Message(role=OPINIONS, content=content)]}
