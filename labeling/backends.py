"""Where people, or simulated annotators, can be asked: a module for each name that `labeling.backend` takes.

A module of the table has two functions. `open_backend(place)` is a context manager that gives a `Backend`, and
`prepare(place, stop)` does beforehand what takes long and needs no answer yet; it ends early once `stop` is set.
Modules are imported when they are first needed: a request without annotators loads no client.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from labeling.backend import Backend

COPIES = ".answers"  # the folder in a project for copies of people's answers

BACKENDS: Mapping[str, str] = {
    "embedded": "labeling.argilla.embedded",
    "remote": "labeling.argilla.remote",
    "simulated": "labeling.in_memory",
}


@dataclass(frozen=True)
class Place:
    """What a backend is opened with."""

    home: Path  # the folder of what it keeps on this machine; each new annotator's invitation is in its `invitations`
    say: Callable[[str], None]  # told what people should know
    port: int | None = None  # for a server on this machine; any free one where absent
    lasting: bool = False  # whether it goes on after the command, so that people can answer
    copies: Path | None = None  # the folder in the project for copies of people's answers


class BackendModule(Protocol):
    """What a module of the table has."""

    def open_backend(self, place: Place) -> AbstractContextManager[Backend]:
        """The backend, until the end of the block. Raises `LabelingError` where it cannot be reached."""
        ...

    def prepare(self, place: Place, stop: threading.Event) -> None:
        """Begin what takes long. Raises `LabelingError`; `open_backend` raises it again."""
        ...


def backend_module(name: str) -> BackendModule:
    """The module of a name in `BACKENDS`."""
    return cast(BackendModule, import_module(BACKENDS[name]))
