"""A team of worker processes that run one stage together.

The main process, number 0, makes the version as ever: it locks, logs, tracks and commits. The others follow: they run
the same stage on the same inputs, compute their share, and write nothing.
"""

import contextlib
import queue
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.config.schema import PipelineConfig
from pipeline.engine.group import ALONE, Group, Place
from pipeline.engine.machine import gpus, threads
from pipeline.engine.planner import Step
from pipeline.engine.workers import PATIENCE, Failed, Made, Worker, lost
from pipeline.errors import PipelineError
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

Result = Made | Failed | None  # None: the process has ended


class Team:
    """The parent's side of `launch.processes` workers that make one step at a time, all together."""

    is_a_crowd, has_room = False, True

    def __init__(self, config: PipelineConfig) -> None:
        self.config, self.count = config, config.launch.processes
        self._store = Store(Path(config.outputs), config.project)
        self._members: list[Worker] = []
        self._results: queue.SimpleQueue[tuple[Worker, Result]] = queue.SimpleQueue()
        self._step: Step | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="pipeline-")
        self._meetings = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(at_once=error is not None)
        self._folder.cleanup()

    def takes(self, step: Step) -> bool:
        """Whether the team makes this step; all others are made in the command's own process."""
        return step.stage.is_distributed

    @property
    def busy(self) -> bool:
        return self._step is not None

    def group_for(self, step: Step, settled: Mapping[str, str]) -> Group:
        return ALONE

    def start(self, step: Step, settled: Mapping[str, str]) -> None:
        """Give a step to the team, which is started first if there is none."""
        if not self._members:
            self._members = [Worker(self.config, self._results, place) for place in self._places()]
        self._step, self._meetings = step, self._meetings + 1
        for member in self._members:
            member.make(step, settled, meeting=str(Path(self._folder.name, f"meeting-{self._meetings}")))

    def _places(self) -> list[Place]:
        on_gpus = self.config.launch.device in ("auto", "cuda") and bool(gpus())
        each = threads(self.config) if on_gpus else max(1, threads(self.config) // self.count)
        return [Place(each, rank=rank, count=self.count, on_gpus=on_gpus) for rank in range(self.count)]

    def next_result(self) -> tuple[str, Artifact | PipelineError]:
        """Wait until the step ends. Returns its name, and its artifact or error.

        After a failure the team is ended, and the next step has a new one: its members may wait for each other.
        """
        step = self._step
        assert step is not None
        ended = self._ended_members()
        if len(ended) < self.count or not all(isinstance(result, Made) for _, result in ended):
            for member, _ in ended:  # it has nothing more to do; its signal handler might not be reached
                member.kill()
            self._end(at_once=True)
        self._step = None
        return step.name, self._outcome(step, ended)

    def _ended_members(self) -> list[tuple[Worker, Result]]:
        """Wait for the members. Returns those that have ended the step, in that order, with their results.

        Once one has failed, or the main process is done, the others have a few seconds left.
        """
        ended: dict[Worker, Result] = {}
        until: float | None = None
        while len(ended) < self.count and (until is None or time.monotonic() < until):
            with contextlib.suppress(queue.Empty):
                member, result = self._results.get(timeout=until and max(0.0, until - time.monotonic()))
                if member in self._members:  # not of an earlier team
                    ended[member] = result
                    if until is None and (member.place.rank == 0 or not isinstance(result, Made)):
                        until = time.monotonic() + PATIENCE
        return [*ended.items()]

    def _outcome(self, step: Step, ended: list[tuple[Worker, Result]]) -> Artifact | PipelineError:
        """Return the artifact if the main process has made it, else the cause of the failure.

        That is a process that was killed, or the first that failed: the others may only have lost it.
        """
        if any(member.place.rank == 0 and isinstance(result, Made) for member, result in ended):
            return self._store.open(step.name, step.version)
        for member, result in ended:
            if result is None:
                words = f"process {member.place.rank + 1} of {self.count} {member.last_words()}"
                return lost(step, words, self._store)
        return next(result.error for _, result in ended if isinstance(result, Failed))

    def _end(self, *, at_once: bool) -> None:
        for member in self._members:
            member.end(at_once=at_once)
        for member in self._members:
            member.join()
        self._members = []
