"""What every labeling backend takes and gives: a round of tasks in, answers of people out.

A *round* is one publication: tasks, the question, the guidelines. Its tasks lie in *queues*, since a server's quorum is
one number for a whole dataset: what everybody ranks (calibration, repeats, gold) has a queue of its own. An *answer* is
what one annotator said about one task. Only whole answers come back: drafts stay on the server.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, Protocol, TypedDict

from labeling.records import Task

Comparison = Literal["ranking", "pairwise", "rating"]  # of several responses
Question = Comparison | Literal["review"]
Verdict = Literal["accept", "correct", "reject"]
Status = Literal["submitted", "discarded"]


@dataclass(frozen=True)
class Queue:
    """Tasks that each need `overlap` answers."""

    name: str  # the name of its dataset on a server
    tasks: Sequence[Task]
    overlap: int


@dataclass(frozen=True)
class Round:
    """One publication of tasks. `workspace` groups the rounds of a project."""

    workspace: str
    question: Question
    guidelines: str  # Markdown
    queues: Sequence[Queue]


class Answer(TypedDict):
    """What one annotator said about one task; a discarded one says nothing else, and its comment is the reason."""

    task: str
    annotator: str
    status: Status
    ranks: list[int] | None  # one per response, in the shown order; they start at 1, equal ranks are ties
    comment: str
    both_bad: NotRequired[bool]  # pairwise only: a tie of two bad answers
    ratings: NotRequired[list[int]]  # rating only: what the ranks were made from, higher is better
    verdict: NotRequired[Verdict]  # review only, which has no ranks
    text: NotRequired[str]  # review only: the draft as the annotator left it


@dataclass(frozen=True)
class Progress:
    """How far a round is. A discarded answer counts as one: whoever discarded a task does not see it again."""

    answers: int
    wanted: int  # tasks times overlap, over all queues
    complete: int
    tasks: int
    by_annotator: Mapping[str, int]

    @property
    def done(self) -> bool:
        return self.complete == self.tasks


class Backend(Protocol):
    """A place where people answer. `labeling.backends` has the table of them."""

    @property
    def address(self) -> str:
        """Where people find it."""
        ...

    def publish(self, asked: Round) -> int:
        """Put the round's tasks there; returns how many were not there yet.

        Idempotent: what is there stays, with its answers; what is missing (an interrupted upload, a server that lost
        its data) is added; a changed overlap is set. Raises `LabelingError` where the place holds something else under
        that name.
        """
        ...

    def answers(self, asked: Round) -> list[Answer]:
        """All submitted and discarded answers, sorted by task and annotator."""
        ...

    def add_annotators(self, names: Sequence[str], workspace: str) -> list[str]:
        """Let these people answer in a workspace; returns those who had no account yet."""
        ...

    def submit(self, asked: Round, answers: Iterable[Answer], advance: Callable[[int], None]) -> None:
        """Give the ranks of simulated annotators, each with that annotator's own account.

        Idempotent: a submitted answer stays as it is. `advance` is told how many more are done.
        """
        ...


class LabelingError(Exception):
    """Something is wrong with a server or a request to it; the message says what, where, and how to mend it.

    `fault` says whose: the request's ("request": credentials, names, data) or the machine's ("service").
    """

    def __init__(self, message: str, fault: Literal["request", "service"] = "service") -> None:
        super().__init__(message)
        self.fault = fault


def progress(asked: Round, answers: Sequence[Answer], annotators: Sequence[str] = ()) -> Progress:
    """How far a round is; `annotators` who have not begun are listed, too."""
    given = Counter(answer["task"] for answer in answers)
    wanted = {task["id"]: queue.overlap for queue in asked.queues for task in queue.tasks}
    by_annotator = Counter(dict.fromkeys(annotators, 0))
    by_annotator.update(answer["annotator"] for answer in answers)
    return Progress(
        answers=sum(min(given[task], need) for task, need in wanted.items()),
        wanted=sum(wanted.values()),
        complete=sum(given[task] >= need for task, need in wanted.items()),
        tasks=len(wanted),
        by_annotator=dict(by_annotator),
    )
