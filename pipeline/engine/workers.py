"""Processes that make steps side by side: each makes one at a time, and keeps what it has imported for the next."""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Mapping
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from pipeline.config.schema import PipelineConfig
from pipeline.console import quiet_logging
from pipeline.data.parallel import end_with_parent
from pipeline.engine.machine import gpus, threads
from pipeline.engine.planner import Planner, Step
from pipeline.errors import PipelineError
from pipeline.progress import BOARD, Event, Remark, Reporter
from pipeline.store.artifacts import Artifact, Store

PATIENCE = 10.0  # seconds in which a worker that was asked to end has to


class Order(NamedTuple):
    """The step that a worker is to make; `settled` is the planner's, so that both plan the same."""

    name: str
    version: str
    settled: Mapping[str, str]


class Made(NamedTuple):
    """A worker has made what it was asked for."""


class Failed(NamedTuple):
    """A worker could not make what it was asked for."""

    error: PipelineError


class Crew:
    """At most `count` workers, started when they are first needed. One alone is no crowd: nothing is handed to it."""

    def __init__(self, config: PipelineConfig, count: int) -> None:
        self.config, self.count = config, count
        self._store = Store(Path(config.outputs), config.project)
        self._workers: list[_Worker] = []
        self._results: queue.SimpleQueue[tuple[_Worker, Made | Failed | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end(at_once=error is not None)
        for worker in self._workers:
            worker.join()

    @property
    def is_a_crowd(self) -> bool:
        return self.count > 1

    @property
    def busy(self) -> bool:
        """Whether any step is being made."""
        return any(worker.step for worker in self._workers)

    @property
    def has_room(self) -> bool:
        return sum(worker.step is not None for worker in self._workers) < self.count

    def start(self, step: Step, settled: Mapping[str, str]) -> None:
        """Hand a step to a worker that has nothing to do, those first that have worked before."""
        idle = [worker for worker in self._workers if worker.step is None]
        if not idle:
            idle = [_Worker(self.config, self._gpu(), self._results)]
            self._workers += idle
        idle[0].make(step, settled)

    def _gpu(self) -> str | None:
        """A GPU of its own for each worker, where there are several."""
        there, taken = gpus(), [worker.gpu for worker in self._workers]
        return next((gpu for gpu in there if gpu not in taken), None) if len(there) > 1 else None

    def next_result(self) -> tuple[str, Artifact | PipelineError]:
        """Wait until a step ends: its name, and what became of it."""
        while True:
            worker, result = self._results.get()
            if result is None:
                self._workers.remove(worker)
            step, worker.step = worker.step, None
            if step is None:  # a worker without work has ended
                continue
            if isinstance(result, Made):
                return step.name, self._store.open(step.name, step.version)
            if isinstance(result, Failed):
                return step.name, result.error
            return step.name, PipelineError(
                f"{step.name}: its process {worker.last_words()}. What is done is kept in "
                f"{self._store.directory(step.name, step.version)}; the same command goes on from there."
            )


class _Worker:
    """The parent's end of one process."""

    def __init__(self, config: PipelineConfig, gpu: str | None, results: "queue.SimpleQueue[Any]") -> None:
        # Not forked: this process may hold torch and its threads.
        context = get_context("spawn")
        self._channel, theirs = context.Pipe()
        self.gpu = gpu
        self.step: Step | None = None
        self._process = context.Process(target=work, args=(config, theirs, threads(config), gpu))
        self._process.start()
        theirs.close()
        threading.Thread(target=self._listen, args=(results,), daemon=True).start()

    def make(self, step: Step, settled: Mapping[str, str]) -> None:
        self.step = step
        with contextlib.suppress(OSError):  # it has just died: who listens is told
            self._channel.send(Order(step.name, step.version, dict(settled)))

    def _listen(self, results: "queue.SimpleQueue[Any]") -> None:
        """Show what the process tells of its work, and hand on what becomes of it."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                said = self._channel.recv()
                if isinstance(said, Made | Failed):
                    results.put((self, said))
                else:
                    BOARD.tell(self._named(said))
        self._process.join()
        if self._process.pid is not None:
            BOARD.forget(self._process.pid)
        results.put((self, None))

    def _named(self, event: Event) -> Event:
        """A remark with the step's name before it: who is meant is not to be seen from what is printed around it."""
        return Remark(event.text, self.step.name) if isinstance(event, Remark) and self.step else event

    def end(self, *, at_once: bool) -> None:
        """Ask it to end: after its work, or at once, in which case what it makes is resumed the next time."""
        if at_once:
            self._process.terminate()
        else:
            with contextlib.suppress(OSError):
                self._channel.send(None)

    def join(self) -> None:
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def last_words(self) -> str:
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "was killed (signal 9), which the system does where memory runs out"
        return f"ended with {f'signal {-code}' if code < 0 else f'status {code}'}"


def work(config: PipelineConfig, channel: Connection, torch_threads: int, gpu: str | None) -> None:
    """Make the steps that come through the channel, until None does."""
    from pipeline.engine.maker import Maker
    from pipeline.people.annotators import People

    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    quiet_logging()
    config.threads = torch_threads  # as the parent has measured it: here the others' work would count
    sending = threading.Lock()

    def send(said: Any) -> None:
        with sending:
            channel.send(said)

    reporter, store = Reporter(send), Store(Path(config.outputs), config.project)
    with contextlib.suppress(KeyboardInterrupt), People(config.labeling, config.project, reporter.say) as people:
        maker = Maker(config, store, people, reporter)
        while (order := channel.recv()) is not None:
            try:
                maker.run_step(_planned(config, store, order))
            except PipelineError as error:
                send(Failed(error))
            else:
                send(Made())
            if not channel.poll():
                _import_ahead()


def _import_ahead() -> None:
    """Import the modules of training, which takes seconds, while this worker has nothing else to do."""
    import_module("pipeline.modeling.rewards.training")
    import_module("pipeline.modeling.tuning")


def _planned(config: PipelineConfig, store: Store, order: Order) -> Step:
    """The step of an order. Raises `PipelineError` where the user's files have changed since it was planned."""
    planner = Planner(config, store, order.settled)
    planner.plan()
    step = planner.steps[order.name]
    if step.version != order.version:
        raise PipelineError(f"{order.name}: what it is made from has changed while this command ran. Run it again.")
    return step
