"""Processes that torchrun or `accelerate launch` started: the first runs the request, the others follow it.

They meet in the launcher's store of torch.distributed. The first process writes its orders there, one for each step
that all make together, and at last the status with which the others end.
"""

import contextlib
import functools
import os
import pickle
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.config.schema import PipelineConfig
from pipeline.engine.group import ALONE, Group, is_launched, launched_count, launched_rank
from pipeline.engine.machine import gpus, threads, threads_in_environment
from pipeline.engine.planner import Step
from pipeline.engine.workers import PATIENCE, Order, planned_step
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import Reporter
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

WAIT = timedelta(days=30)  # for the next order: other steps are made, and people asked, in between


def with_launched_processes(config: PipelineConfig) -> PipelineConfig:
    """Return the configuration with the launcher's number of processes, and this one's share of the threads.

    Raises `RequestError` if the request names another number.
    """
    if not is_launched():
        return config
    if config.launch.processes not in (1, launched_count()):
        raise RequestError(
            f"launch.processes={config.launch.processes}: {launched_count()} processes were launched. Leave the key "
            "out: it follows the launcher."
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", launched_count()))
    each = threads(config)
    if config.threads or not threads_in_environment():  # torchrun sets the variable for each process
        each = max(1, each // here)
    return replace(config, threads=each, launch=replace(config.launch, processes=launched_count()))


@functools.cache
def meeting_place() -> Any:
    """Return the launcher's store. Waits until all processes have come."""
    from pipeline.modeling.processes import launcher_store

    return launcher_store()


class Launched:
    """The main process's side: gives the others an order for each step that all make together."""

    is_a_crowd, has_room, busy = False, True, False
    _orders = 0  # of all requests of this command

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self._lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return

    def takes(self, step: Step) -> bool:
        return False

    def start(self, step: Step, settled: Mapping[str, str]) -> None:
        raise AssertionError("this process makes all steps")

    def next_result(self) -> tuple[str, Artifact | PipelineError]:
        raise AssertionError("this process makes all steps")

    def group_for(self, step: Step, settled: Mapping[str, str]) -> Group:
        """Return the processes that make a step: all, or this one alone."""
        if not step.stage.is_distributed:
            return ALONE
        order = Order(step.name, step.version, dict(settled))
        return Group(0, launched_count(), functools.partial(self._join, order))

    @contextlib.contextmanager
    def _join(self, order: Order) -> Iterator[None]:
        if self._lost:
            raise PipelineError("Another process of this command is stuck in a step that failed. Run it again.")
        store, number = meeting_place(), Launched._orders
        Launched._orders += 1
        store.set(f"order {number}", pickle.dumps((self.config, order)))
        try:
            with _group(self.config, number):
                yield
        except BaseException:
            self._lost = not _is_set(
                store, [f"left {number} {other}" for other in range(1, launched_count())], PATIENCE
            )
            raise
        finally:
            store.set(f"ended {number}", b"1")


def dismiss(status: int) -> None:
    """Let the other processes end with a status. Called once, at the end of the main process, which may be the store's.

    It waits for those that are not stuck in a step that failed here.
    """
    meeting_place().set(f"order {Launched._orders}", pickle.dumps(status))
    _is_set(meeting_place(), [f"dismissed {other}" for other in range(1, launched_count())], PATIENCE)


def follow() -> int:
    """Take part in the main process's steps until it ends. Returns its status."""
    from pipeline.console import errors

    store, number = meeting_place(), 0
    while True:
        key = f"order {number}"
        store.wait([key], WAIT)
        said = pickle.loads(store.get(key))
        if isinstance(said, int):
            store.set(f"dismissed {launched_rank()}", b"1")
            return said
        config, order = said
        try:
            _take_part(config, order, number)
        except PipelineError as error:
            store.set(f"left {number} {launched_rank()}", b"1")
            if not _is_set(store, [f"ended {number}"], PATIENCE):  # else the main process reports the same
                errors.print(f"Error: process {launched_rank()} of {launched_count()}: {error}", markup=False)
                return error.status
        number += 1


def _take_part(config: PipelineConfig, order: Order, number: int) -> None:
    """Run the stage of an order as a process that writes nothing."""
    from pipeline.engine.maker import Maker
    from pipeline.people.annotators import People

    reporter, store = Reporter(lambda event: None), Store(Path(config.outputs), config.project)
    with People(config.labeling, config.project, reporter.say, store.root) as people:
        maker = Maker(config, store, people, reporter)
        maker.group = Group(launched_rank(), launched_count(), functools.partial(_group, config, number))
        maker.make_together(planned_step(config, store, order))


def _group(config: PipelineConfig, number: int) -> contextlib.AbstractContextManager[None]:
    """Return the context in which all processes are one group, for one step."""
    from pipeline.modeling.processes import joined, part_of_store

    on_gpu = config.launch.device in ("auto", "cuda") and bool(gpus())
    store = part_of_store(meeting_place(), f"step {number}")
    return joined(store, launched_rank(), launched_count(), on_gpu=on_gpu)


def _is_set(store: Any, keys: list[str], seconds: float) -> bool:
    """Whether all keys are in the store, within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if store.check(keys):
            return True
        time.sleep(0.1)
    return False
