"""Worker processes that make steps, one at a time each: several steps in parallel, or one together (`team`).

A worker keeps its imports between steps.
"""

import contextlib
import functools
import os
import queue
import signal
import threading
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from pipeline.config.schema import PipelineConfig
from pipeline.console import quiet_logging
from pipeline.data.parallel import end_with_parent
from pipeline.engine.group import ALONE, Group, Place
from pipeline.engine.machine import gpus, threads
from pipeline.engine.planner import Planner, Step
from pipeline.errors import PipelineError
from pipeline.garbage import import_for_good
from pipeline.progress import BOARD, Event, Remark, Reporter
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PATIENCE = 10.0  # seconds that a worker has to end before it is killed


class Order(NamedTuple):
    """The step that a worker has to make. `settled` is the planner's, so that both make the same plan."""

    name: str
    version: str
    settled: Mapping[str, str]
    meeting: str = ""  # the file where the processes meet that make it together


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
        self._workers: list[Worker] = []
        self._results: queue.SimpleQueue[tuple[Worker, Made | Failed | None]] = queue.SimpleQueue()

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

    def takes(self, step: Step) -> bool:
        """Whether workers make this step; all others are made in the command's own process."""
        return self.is_a_crowd and not step.stage.meets_people

    def group_for(self, step: Step, settled: Mapping[str, str]) -> Group:
        """Return the processes that make a step in the command's own process: this one alone."""
        return ALONE

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
            idle = [Worker(self.config, self._results, Place(threads(self.config), self._gpu()))]
            self._workers += idle
        idle[0].make(step, settled)

    def _gpu(self) -> str | None:
        """Return a GPU that no other worker uses; None if the machine has fewer than two, or none is free."""
        there, taken = gpus(), [worker.place.gpu for worker in self._workers]
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
            return step.name, lost(step, f"its process {worker.last_words()}", self._store)


def lost(step: Step, what: str, store: Store) -> PipelineError:
    """Return the error of a step whose process has ended."""
    return PipelineError(
        f"{step.name}: {what}. Finished work is kept in {store.directory(step.name, step.version)}; the same command "
        "continues from there."
    )


class Worker:
    """The parent's side of one worker process."""

    def __init__(self, config: PipelineConfig, results: "queue.SimpleQueue[Any]", place: Place) -> None:
        # Spawned, not forked: this process may have loaded torch with its threads.
        context = get_context("spawn")
        self._channel, theirs = context.Pipe()
        self.place = place
        self.step: Step | None = None
        self._process = context.Process(target=work, args=(config, theirs, place))
        self._process.start()
        theirs.close()
        threading.Thread(target=self._listen, args=(results,), daemon=True).start()

    def make(self, step: Step, settled: Mapping[str, str], meeting: str = "") -> None:
        self.step = step
        with contextlib.suppress(OSError):  # the process has just died: `_listen` reports it
            self._channel.send(Order(step.name, step.version, dict(settled), meeting))

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
        """Add the step's name to a remark if the lines of several steps are mixed."""
        if isinstance(event, Remark) and self.step and self.place.count == 1:
            return Remark(event.text, self.step.name)
        return event

    def end(self, *, at_once: bool) -> None:
        """Ask the process to end after its step, or at once; an interrupted step is resumed by the next run."""
        if at_once:
            self._process.terminate()
        else:
            with contextlib.suppress(OSError):
                self._channel.send(None)

    def kill(self) -> None:
        """End the process at once, without its cooperation."""
        self._process.kill()

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


def work(config: PipelineConfig, channel: Connection, place: Place) -> None:
    """Make the steps received through the channel, until None is received. Runs in the worker process."""
    from pipeline.engine.maker import Maker
    from pipeline.people.annotators import People

    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.update(place.environment)
    quiet_logging()
    config.threads = place.threads  # measured by the parent: here other workers would count as load
    sending = threading.Lock()

    def send(said: Any) -> None:
        with sending:
            channel.send(said)

    reporter = Reporter(send if place.rank == 0 else lambda event: None)
    store = Store(Path(config.outputs), config.project)
    with (
        contextlib.suppress(KeyboardInterrupt),
        People(config.labeling, config.project, reporter.say, store.root) as people,
    ):
        maker = Maker(config, store, people, reporter)
        while (order := channel.recv()) is not None:
            if place.count > 1:
                maker.group = Group(place.rank, place.count, functools.partial(meet, order.meeting, place))
            try:
                maker.make_together(planned_step(config, store, order))
            except PipelineError as error:
                send(Failed(error))
            else:
                send(Made())
            if not channel.poll():
                _import_ahead()


def meet(file: str, place: Place) -> contextlib.AbstractContextManager[None]:
    """Return the context in which the processes of a team are one group."""
    from pipeline.modeling.processes import file_store, joined

    return joined(file_store(file, place.count), place.rank, place.count, on_gpu=place.on_gpus)


def _import_ahead() -> None:
    """Import the modules of training, which takes seconds, while this worker has nothing else to do."""
    import_for_good("pipeline.modeling.rewards.training", "pipeline.modeling.tuning")


def planned_step(config: PipelineConfig, store: Store, order: Order) -> Step:
    """Return the step of an order. Raises `PipelineError` if the user's files have changed since it was planned."""
    planner = Planner(config, store, order.settled)
    planner.plan()
    step = planner.steps[order.name]
    if step.version != order.version:
        raise PipelineError(f"{order.name}: its inputs have changed while this command ran. Run it again.")
    return step
