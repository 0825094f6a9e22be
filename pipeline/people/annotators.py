"""The annotators of a project and their backend, which is opened when first needed."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from labeling.backend import AnnotatorAnswer, Backend, LabelingError, Round
from labeling.backends import BACKENDS, COPIES, Place, backend_module
from pipeline.config.nodes.people import LabelingConfig
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import Advance


class People:
    """The annotators of one project, named by the configuration.

    A server for people keeps running after the command, so that they can answer. A server for simulated annotators
    ends with the command, unless it was running before. People's answers are copied into `folder`, the project's.
    """

    def __init__(
        self, config: LabelingConfig, project: str, say: Callable[[str], None], folder: Path | None = None
    ) -> None:
        self.config = config
        self.workspace = project if config.annotators else f"{project}-simulated"
        self.names = config.annotators or [f"simulated{number + 1}" for number in range(config.simulated)]
        self._copies = folder / COPIES if folder and self.named else None
        self._place = Place(Path(config.home), say, config.port, lasting=self.named, copies=self._copies)
        self._name = config.backend if config.backend in BACKENDS else "simulated"  # labeling=file has no server
        self._open = ExitStack()
        self._preparing: threading.Thread | None = None
        self._stop = threading.Event()
        self._backend: Backend | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._preparing is not None:
            if error is not None:
                self._stop.set()
            self._preparing.join()
        self._open.close()

    def prepare(self) -> None:
        """Prepare the backend in a background thread; for simulated annotators, also open it.

        People's server starts only when they are asked, so a chain that fails earlier leaves no server running. Errors
        here are ignored: they occur again, and are reported, when the backend is opened.
        """
        if self._preparing is None:
            self._preparing = threading.Thread(target=self._prepare)
            self._preparing.start()

    def _prepare(self) -> None:
        with contextlib.suppress(LabelingError, PipelineError):
            backend_module(self._name).prepare(self._place, self._stop)
            if not self.named:
                _ = self.backend

    @property
    def named(self) -> bool:
        """Whether the annotators are people. The configuration does not name simulated annotators."""
        return bool(self.config.annotators)

    @property
    def backend(self) -> Backend:
        if self._preparing is not None and threading.current_thread() is not self._preparing:
            self._preparing.join()
        if self._backend is None:
            with reported():
                opened = backend_module(self._name).open_backend(self._place)
                self._backend = self._open.enter_context(opened)
        return self._backend

    def publish(self, asked: Round) -> int:
        """See `labeling.backend.Backend.publish`."""
        with reported():
            return self.backend.publish(asked)

    def answers(self, asked: Round) -> list[AnnotatorAnswer]:
        """See `labeling.backend.Backend.answers`."""
        with reported():
            return self.backend.answers(asked)

    def invite(self) -> list[str]:
        """Create accounts for annotators without one. Returns their names."""
        with reported():
            return self.backend.add_annotators(self.names, self.workspace)

    @property
    def answered(self) -> set[str]:
        """The names of all people whose answers are in the project."""
        from labeling.server.snapshots import annotators

        with reported():
            return annotators(self._copies) if self._copies else set()

    @property
    def address(self) -> str:
        """The address at which people answer."""
        return self.backend.address

    @property
    def invitations(self) -> Path:
        return self._place.home / "invitations"

    def submit(self, asked: Round, answers: Iterable[AnnotatorAnswer], advance: Advance) -> None:
        """See `labeling.backend.Backend.submit`. Also creates missing accounts."""
        self.invite()
        with reported():
            self.backend.submit(asked, answers, advance)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn a `LabelingError` into `RequestError` if the request is at fault, else into `PipelineError`."""
    try:
        yield
    except LabelingError as error:
        raise (RequestError if error.fault == "request" else PipelineError)(str(error)) from None
