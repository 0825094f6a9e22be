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
        self._published: set[str] = set()
        self._answers: dict[tuple[str, str], AnnotatorAnswer] = {}

    def publish(self, asked: Round) -> int:
        """See `Backend.publish`."""
        before, tasks = len(self._published), {task["id"] for queue in asked.queues for task in queue.tasks}
        self._published |= tasks
        return len(self._published) - before

    def answers(self, asked: Round) -> list[AnnotatorAnswer]:
        """See `Backend.answers`."""
        tasks = {task["id"] for queue in asked.queues for task in queue.tasks}
        return [answer for (task, _), answer in sorted(self._answers.items()) if task in tasks]

    def add_annotators(self, names: Sequence[str], workspace: str) -> list[str]:
        """See `Backend.add_annotators`: accounts are not needed here."""
        return []

    def submit(self, asked: Round, answers: Iterable[AnnotatorAnswer], advance: Callable[[int], None]) -> None:
        """See `Backend.submit`."""
        for answer in answers:
            self._answers.setdefault((answer["task"], answer["annotator"]), answer)
            advance(1)


@contextmanager
def open_backend(place: Place) -> Iterator[Backend]:
    """See `labeling.backends.BackendModule`."""
    yield InMemory()


def prepare(place: Place, stop: threading.Event) -> None:
    """Nothing takes long here."""
