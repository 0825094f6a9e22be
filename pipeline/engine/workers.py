"""Worker processes that make steps in parallel, one step at a time each. A worker keeps its imports between steps."""

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
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PATIENCE = 10.0  # seconds that a worker has to end before it is killed


class Order(NamedTuple):
    """The step that a worker has to make. `settled` is the planner's, so that both make the same plan."""

    name: str
    version: str
    settled: Mapping[str, str]


class Made(NamedTuple):
    """A worker has finished its step."""


class Failed(NamedTuple):
    """A worker's step has failed."""

    error: PipelineError


class Workers:
    """Up to `count` workers, started when first needed. With a count of 1, none is used: steps run in this process."""

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
        """Whether a worker is making a step."""
        return any(worker.step for worker in self._workers)

    @property
    def has_room(self) -> bool:
        return sum(worker.step is not None for worker in self._workers) < self.count

    def start(self, step: Step, settled: Mapping[str, str]) -> None:
        """Give a step to an idle worker; start a new one if there is none."""
        idle = [worker for worker in self._workers if worker.step is None]
        if not idle:
            idle = [_Worker(self.config, self._gpu(), self._results)]
            self._workers += idle
        idle[0].make(step, settled)

    def _gpu(self) -> str | None:
        """Return a GPU that no other worker uses; None if the machine has fewer than two, or none is free."""
        there, taken = gpus(), [worker.gpu for worker in self._workers]
        return next((gpu for gpu in there if gpu not in taken), None) if len(there) > 1 else None

    def next_result(self) -> tuple[str, Artifact | PipelineError]:
        """Wait until a step ends. Returns its name, and its artifact or error."""
        while True:
            worker, result = self._results.get()
            if result is None:
                self._workers.remove(worker)
            step, worker.step = worker.step, None
            if step is None:  # an idle worker has ended
                continue
            if isinstance(result, Made):
                return step.name, self._store.open(step.name, step.version)
            if isinstance(result, Failed):
                return step.name, result.error
            return step.name, PipelineError(
                f"{step.name}: its process {worker.last_words()}. Finished work is kept in "
                f"{self._store.directory(step.name, step.version)}; the same command continues from there."
            )


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, config: PipelineConfig, gpu: str | None, results: "queue.SimpleQueue[Any]") -> None:
        # Spawned, not forked: this process may have loaded torch with its threads.
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
        with contextlib.suppress(OSError):  # the process has just died: `_listen` reports it
            self._channel.send(Order(step.name, step.version, dict(settled)))

    def _listen(self, results: "queue.SimpleQueue[Any]") -> None:
        """Show the events of the process and put its results into `results`; None when it ends."""
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
        """Add the step's name to a remark, because the lines of several steps are mixed."""
        return Remark(event.text, self.step.name) if isinstance(event, Remark) and self.step else event

    def end(self, *, at_once: bool) -> None:
        """Ask the process to end after its step, or at once; an interrupted step is resumed by the next run."""
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
            return "was killed (signal 9), which the system does when memory runs out"
        return f"ended with {f'signal {-code}' if code < 0 else f'status {code}'}"


def work(config: PipelineConfig, channel: Connection, torch_threads: int, gpu: str | None) -> None:
    """Make the steps received through the channel, until None is received. Runs in the worker process."""
    from pipeline.engine.maker import Maker
    from pipeline.people.annotators import People

    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    quiet_logging()
    config.threads = torch_threads  # measured by the parent: here other workers would count as load
    sending = threading.Lock()

    def send(said: Any) -> None:
        with sending:
            channel.send(said)

    reporter, store = Reporter(send), Store(Path(config.outputs), config.project)
    with (
        contextlib.suppress(KeyboardInterrupt),
        People(config.labeling, config.project, reporter.say, store.root) as people,
    ):
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
    """Return the step of an order. Raises `PipelineError` if the user's files have changed since it was planned."""
    planner = Planner(config, store, order.settled)
    planner.plan()
    step = planner.steps[order.name]
    if step.version != order.version:
        raise PipelineError(f"{order.name}: its inputs have changed while this command ran. Run it again.")
    return step
