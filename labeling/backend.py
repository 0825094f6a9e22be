"""The interface of labeling backends: they publish rounds of tasks and return annotators' answers.

A *round* is one publication: tasks, the question, the guidelines. Its tasks are in *queues*, since a server's quorum is
one number per dataset: tasks for all annotators (calibration, repeats, gold) have a queue of their own. An *answer* is
one annotator's judgement of one task. Drafts stay on the server.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, Protocol, TypedDict, cast

from labeling.records import Task

Comparison = Literal["ranking", "pairwise", "rating"]  # of several responses
Question = Comparison | Literal["review"]
Verdict = Literal["accept", "correct", "reject"]
Status = Literal["submitted", "discarded"]


@dataclass(frozen=True)
class Queue:
    """Tasks that each need `overlap` answers, and up to `most` where annotators contradict each other.

    That depends on their ranks (`labeling.server.inside.opinions`), so a queue of reviews has no `most`.
    """

    name: str  # the name of its dataset on a server
    tasks: Sequence[Task]
    overlap: int
    most: int | None = None


@dataclass(frozen=True)
class Round:
    """One publication of tasks. `workspace` groups the rounds of a project."""

    workspace: str
    question: Question
    guidelines: str  # Markdown
    queues: Sequence[Queue]


ADJUDICATION = "-adjudication"  # the end of the name of a workspace for decisions on divided prompts, and of a queue's
_PARTS = re.compile(r"(-calibration)?(-of-\d+)?$")
_DECISIONS = re.compile(rf".+{ADJUDICATION}(-of-\d+)?")


def adjudication_of(queue: str) -> str:
    """The queue of decisions on a round, from the name of any of its queues."""
    return _PARTS.sub("", queue.replace(ADJUDICATION, "")) + ADJUDICATION


def is_adjudication(queue: str) -> bool:
    """Whether a queue is one of decisions, by its name."""
    return _DECISIONS.fullmatch(queue) is not None


class AnnotatorAnswer(TypedDict):
    """One annotator's judgement of one task. A discarded answer has only a comment, the reason."""

    task: str
    annotator: str
    status: Status
    ranks: list[int] | None  # one per response, in the shown order; they start at 1, equal ranks are ties
    comment: str
    both_bad: NotRequired[bool]  # pairwise only: a tie of two bad answers
    ratings: NotRequired[list[int]]  # rating only: the source of the ranks, higher is better
    verdict: NotRequired[Verdict]  # review only, which has no ranks
    text: NotRequired[str]  # review only: the draft as the annotator left it
    answered: NotRequired[str]  # when it was first given, ISO 8601 in UTC; no part of what was answered


@dataclass(frozen=True)
class Progress:
    """The progress of a round. A discarded answer counts, since its annotator does not see the task again."""

    answers: int
    wanted: int  # over all tasks
    complete: int
    tasks: int
    by_annotator: Mapping[str, int]

    @property
    def done(self) -> bool:
        return self.complete == self.tasks


class Backend(Protocol):
    """A place where people answer. `labeling.backends` has the table of them.

    Rounds of two workspaces can have the same tasks: those for people and those for simulated annotators do. A backend
    keeps the tasks and answers of each workspace apart.
    """

    @property
    def address(self) -> str:
        """Where people find it."""
        ...

    def publish(self, asked: Round) -> int:
        """Publish the round's tasks; returns the number of new tasks.

        Idempotent: existing tasks stay, with their answers; missing tasks (after an interrupted upload or a loss of
        data) are added, with the copied answers to them; a changed overlap is set. Raises `LabelingError` if the
        service holds other tasks under that name.
        """
        ...

    def answers(self, asked: Round) -> list[AnnotatorAnswer]:
        """All submitted and discarded answers, decisions on divided tasks included, sorted by task and annotator."""
        ...

    def add_annotators(self, names: Sequence[str], workspace: str) -> list[str]:
        """Give annotators access to a workspace; returns those who had no account yet."""
        ...

    def submit(self, asked: Round, answers: Iterable[AnnotatorAnswer], advance: Callable[[int], None]) -> None:
        """Give the ranks of simulated annotators, each with that annotator's own account.

        Idempotent: a submitted answer stays as it is. `advance` is told how many more are done.
        """
        ...


class LabelingError(Exception):
    """A fault of a server or of a request to it; the message tells the fault, its place and its correction.

    `fault` is "request" (credentials, names, data) or "service" (the machine).
    """

    def __init__(self, message: str, fault: Literal["request", "service"] = "service") -> None:
        super().__init__(message)
        self.fault = fault


def without_times(answers: Iterable[AnnotatorAnswer]) -> list[AnnotatorAnswer]:
    """The answers without the times at which they were given."""
    return [cast(AnnotatorAnswer, {k: v for k, v in answer.items() if k != "answered"}) for answer in answers]


def answers_needed(asked: Round, answers: Iterable[AnnotatorAnswer]) -> dict[str, int]:
    """Task -> the answers that it needs, as far as the given ones tell: one more while annotators disagree."""
    given: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    for answer in answers:
        given[answer["task"]].append(answer)
    return {task["id"]: _needed(queue, given[task["id"]]) for queue in asked.queues for task in queue.tasks}


def _needed(queue: Queue, given: Sequence[AnnotatorAnswer]) -> int:
    if queue.most is None or not queue.overlap <= len(given):
        return queue.overlap
    from labeling.server.inside.opinions import are_settled  # the server decides by the same rule

    ranks = [answer["ranks"] for answer in given if answer["ranks"] is not None]
    return queue.overlap if are_settled(ranks) else min(len(given) + 1, queue.most)


def progress(asked: Round, answers: Sequence[AnnotatorAnswer], annotators: Sequence[str] = ()) -> Progress:
    """The progress of a round, including `annotators` without answers."""
    given = Counter(answer["task"] for answer in answers)
    wanted = answers_needed(asked, answers)
    by_annotator = Counter(dict.fromkeys(annotators, 0))
    by_annotator.update(answer["annotator"] for answer in answers)
    return Progress(
        answers=sum(min(given[task], need) for task, need in wanted.items()),
        wanted=sum(wanted.values()),
        complete=sum(given[task] >= need for task, need in wanted.items()),
        tasks=len(wanted),
        by_annotator=dict(by_annotator),
    )
