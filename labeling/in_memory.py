"""A backend without a server, for simulated annotators: their answers are kept in memory until the command ends."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from labeling.backend import AnnotatorAnswer, Backend, Round
from labeling.backends import Place


class InMemory:
    """A `Backend`."""

    address = "memory"

    def __init__(self) -> None:
        self._published: set[tuple[str, str]] = set()  # workspace, task
        self._answers: dict[tuple[str, str, str], AnnotatorAnswer] = {}  # workspace, task, annotator

    def publish(self, asked: Round) -> int:
        """See `Backend.publish`."""
        before = len(self._published)
        self._published |= {(asked.workspace, task["id"]) for queue in asked.queues for task in queue.tasks}
        return len(self._published) - before

    def answers(self, asked: Round) -> list[AnnotatorAnswer]:
        """See `Backend.answers`."""
        tasks = {(asked.workspace, task["id"]) for queue in asked.queues for task in queue.tasks}
        return [self._answers[key] for key in sorted(self._answers) if key[:2] in tasks]

    def add_annotators(self, names: Sequence[str], workspace: str) -> list[str]:
        """See `Backend.add_annotators`: accounts are not needed here."""
        return []

    def submit(self, asked: Round, answers: Iterable[AnnotatorAnswer], advance: Callable[[int], None]) -> None:
        """See `Backend.submit`."""
        for answer in answers:
            self._answers.setdefault((asked.workspace, answer["task"], answer["annotator"]), answer)
            advance(1)


@contextmanager
def open_backend(place: Place) -> Iterator[Backend]:
    """See `labeling.backends.BackendModule`."""
    yield InMemory()


def prepare(place: Place, stop: threading.Event) -> None:
    """Nothing takes long here."""
