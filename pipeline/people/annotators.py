"""Where annotators are asked: an Argilla on this machine, or one that runs elsewhere; reached when first needed.

Its client is imported then, too: most chains, and all that plans, go without.
"""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from labeling.backend import Answer, LabelingError, Round
from labeling.server import (
    Connection,
    accounts,
    address,
    detach,
    ensure_environment,
    remote,
    serving,
)
from pipeline.config.schema import LabelingConfig
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import Advance

if TYPE_CHECKING:
    from labeling.argilla.backend import ArgillaBackend


class People:
    """The annotators of one project, as the configuration names them.

    A server for people goes on when the command ends, so that they can answer; one for simulated annotators ends with
    it, unless it ran before.
    """

    def __init__(self, config: LabelingConfig, project: str, say: Callable[[str], None]) -> None:
        self.config = config
        self.workspace = project if config.annotators else f"{project}-simulated"
        self.names = config.annotators or [f"simulated{number + 1}" for number in range(config.simulated)]
        self._say = say
        self._open = ExitStack()
        self._preparing: threading.Thread | None = None
        self._stop = threading.Event()
        self._backend: ArgillaBackend | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._preparing is not None:
            if error is not None:
                self._stop.set()
            self._preparing.join()
        self._open.close()

    def prepare(self) -> None:
        """Begin in the background what reaching them takes: Argilla's environment, and for simulated ones its server.

        People's server is started when they are asked: a chain that fails before leaves none behind. What goes wrong
        here is met again, and then reported, when they are reached.
        """
        if self.config.backend == "embedded" and self._preparing is None:
            self._preparing = threading.Thread(target=self._prepare)
            self._preparing.start()

    def _prepare(self) -> None:
        with contextlib.suppress(LabelingError, PipelineError):
            ensure_environment(self._say, self._stop)
            if not self.named:
                _ = self.connection

    @property
    def named(self) -> bool:
        """Whether these are people; simulated annotators have no names of their own."""
        return bool(self.config.annotators)

    @property
    def on_a_server(self) -> bool:
        return self.config.backend in ("embedded", "remote")

    @property
    def connection(self) -> Connection:
        """The owner's."""
        if self._preparing is not None and threading.current_thread() is not self._preparing:
            self._preparing.join()
        if self._connection is None:
            with reported():
                self._connection = self._connect()
        return self._connection

    @property
    def backend(self) -> "ArgillaBackend":
        if self._backend is None:
            from labeling.argilla.backend import ArgillaBackend

            connection = self.connection
            with reported():
                self._backend = ArgillaBackend(connection, self._say, Path(self.config.home))
        return self._backend

    def publish(self, asked: Round) -> int:
        """See `labeling.backend.Backend.publish`."""
        with reported():
            return self.backend.publish(asked)

    def answers(self, asked: Round) -> list[Answer]:
        """See `labeling.backend.Backend.answers`."""
        with reported():
            return self.backend.answers(asked)

    def invite(self) -> list[str]:
        """Accounts for those annotators who have none yet; returns their names."""
        with reported():
            return self.backend.add_annotators(self.names, self.workspace)

    @property
    def address(self) -> str:
        """Where people find it: on this machine's network, by its name."""
        if self.config.backend == "remote":
            return self.connection.url
        return address(Path(self.config.home), self.connection)

    @property
    def invitations(self) -> Path:
        return Path(self.config.home) / "invitations"

    def submit(self, asked: Round, answers: Iterable[Answer], advance: Advance) -> None:
        """Answers of this project's annotators, each given with that annotator's own key, all of them at once."""
        from labeling.argilla.submitting import submit_rankings

        self.invite()
        queue_of = {task["id"]: queue.name for queue in asked.queues for task in queue.tasks}
        given: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
        for answer in answers:
            if answer["ranks"] is not None:
                given[answer["annotator"], queue_of[answer["task"]]][answer["task"]] = answer["ranks"]

        def submitted(of: tuple[tuple[str, str], dict[str, list[int]]]) -> None:
            (name, dataset), ranks = of
            submit_rankings(accounts.key_of(self.connection, name), dataset, asked.workspace, ranks, advance=advance)

        with reported(), ThreadPoolExecutor(len(self.names)) as pool:
            list(pool.map(submitted, given.items()))

    def _connect(self) -> Connection:
        if self.config.backend == "remote":
            return remote()
        home = Path(self.config.home)
        if self.named:
            return detach(home, say=self._say, port=self.config.port)
        return self._open.enter_context(serving(home, say=self._say, port=self.config.port))


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """What is wrong with a server or a request to it, as the pipeline's own errors."""
    try:
        yield
    except LabelingError as error:
        raise (RequestError if error.fault == "request" else PipelineError)(str(error)) from None
