"""The promises of `labeling.backend.Backend`, for backends that need no server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from labeling.backend import AnnotatorAnswer, Backend, Queue, Round, progress
from labeling.backends import Place
from labeling.records import Task

TASKS = [Task(id=f"t{n}", prompt=[{"role": "user", "content": "?"}], responses=["a", "b"]) for n in range(3)]
ASKED = Round("w", "ranking", "Rank them.", [Queue("w-one", TASKS[:2], 2), Queue("w-two", TASKS[2:], 1)])


def answer(task: str, annotator: str, ranks: list[int]) -> AnnotatorAnswer:
    return AnnotatorAnswer(task=task, annotator=annotator, status="submitted", ranks=ranks, comment="")


def assert_kept(open_backend: Callable[[Place], AbstractContextManager[Backend]], home: Path) -> None:
    """Publishes and answers a round twice, beside the same tasks in another workspace."""
    given = [answer("t2", "bob", [1, 2]), answer("t0", "bob", [1, 1]), answer("t0", "ann", [2, 1])]
    other, part = replace(ASKED, workspace="w-simulated"), replace(ASKED, queues=ASKED.queues[1:])
    told: list[int] = []
    with open_backend(Place(home, print)) as backend:
        assert [backend.publish(asked) for asked in (part, ASKED, ASKED, other)] == [1, 2, 0, 3]
        assert backend.answers(ASKED) == []
        backend.submit(ASKED, given, told.append)
        backend.submit(ASKED, [answer("t2", "bob", [2, 1])], told.append)  # a submitted answer stays as it is
        assert backend.answers(ASKED) == [given[2], given[1], given[0]]
        assert backend.answers(part) == [given[0]]
        assert backend.answers(other) == []  # or a simulated answer would count as a person's
        found = progress(ASKED, backend.answers(ASKED))
    assert sum(told) == 4  # one that is there already counts, as for a client that goes on
    assert (found.complete, found.answers) == (2, 3)
