"""Shows the progress of long work, also from several processes: bars on a terminal, else a line at intervals.

Work sends small events, which can cross a pipe, through a `Reporter`. One `Board` per command shows them.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from pipeline.console import console, seconds_text

Advance = Callable[[int], None]  # called with the units done since the last call
Progress = Callable[[str, int | None], contextlib.AbstractContextManager[Advance]]
Key = tuple[int, int]  # process and number

LINE_EVERY = 30.0  # seconds between lines about the same work, without a terminal
EVENT_EVERY = 0.1  # seconds between events about the same work
WATCHED = {  # metric -> how it is shown beside the progress; narrow terminals cut off the end
    "loss": "loss {:.2f}",
    "reward": "reward {:.2f}",
    "kl": "KL {:.2f}",
    "length": "length {:.0f}",
    "stopped": "{:.0%} stopped",
    "seconds_sampling": "sampling {:.1f} s",
    "seconds_scoring": "scoring {:.1f} s",
    "seconds_learning": "learning {:.1f} s",
}


class Remark(NamedTuple):
    """A remark for the user. `step` names its source if several steps run at once."""

    text: str
    step: str = ""


class Begun(NamedTuple):
    """Work begins. `total` is its number of units, None if unknown."""

    key: Key
    what: str
    total: int | None


class Advanced(NamedTuple):
    """More units are done."""

    key: Key
    units: int


class Noted(NamedTuple):
    """The latest metrics of the work, as text."""

    key: Key
    words: str


class Ended(NamedTuple):
    """The work has ended, successfully or not."""

    key: Key


Event = Remark | Begun | Advanced | Noted | Ended


class Reporter:
    """Reports the work of one process. `tell` receives every event."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._numbers = itertools.count()
        self._open: list[Key] = []

    def say(self, text: str) -> None:
        self._tell(Remark(text))

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Advance]:
        """Yield a function that advances the work `what` towards `total`, or only counts if `total` is None."""
        key = (os.getpid(), next(self._numbers))
        self._tell(Begun(key, what, total))
        self._open.append(key)
        steps = _Steps(key, self._tell)
        try:
            yield steps.advance
        finally:
            steps.flush()
            self._open.remove(key)
            self._tell(Ended(key))

    def note(self, metrics: Mapping[str, float]) -> None:
        """Report the latest metrics of the work in progress."""
        words = " · ".join(form.format(metrics[name]) for name, form in WATCHED.items() if name in metrics)
        if words and self._open:
            self._tell(Noted(self._open[-1], words))


class _Steps:
    """Adds up finished units, so that fast work sends few events."""

    def __init__(self, key: Key, tell: Callable[[Event], None]) -> None:
        self._key, self._tell = key, tell
        self._count, self._at = 0, time.monotonic()
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        with self._lock:
            self._count += count
            if time.monotonic() - self._at >= EVENT_EVERY:
                self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._count:
            self._tell(Advanced(self._key, self._count))
        self._count, self._at = 0, time.monotonic()


@dataclass
class _Work:
    """One piece of work, shown as lines without a terminal."""

    what: str
    total: int | None
    done: int = 0
    words: str = ""
    shown_at: float = field(default_factory=time.monotonic)
    shown_done: int = 0


class Board:
    """Shows all work in progress. Events may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._bars: Bars | None = None
        self._tasks: dict[Key, TaskID] = {}
        self._works: dict[Key, _Work] = {}
        self._ticking: threading.Thread | None = None
        self._remarks: set[str] = set()

    def begin(self) -> None:
        """Start a new run: remarks of the previous run may be shown again."""
        self._remarks.clear()

    def tell(self, event: Event) -> None:
        """Show an event. The same remark is shown once per run, even from several stages."""
        if isinstance(event, Remark):
            with self._lock:
                if event.text not in self._remarks:
                    self._remarks.add(event.text)
                    step = f"{event.step}: " if event.step else ""
                    console.print(f"   [dim]{escape(step + event.text)}[/]")
            return
        with self._lock:
            (self._draw if sys.stdout.isatty() else self._note)(event)

    def forget(self, process: int) -> None:
        """Remove the work that an ended process left open."""
        with self._lock:
            for key in [*self._tasks, *self._works]:
                if key[0] == process:
                    self.tell(Ended(key))

    def _draw(self, event: Begun | Advanced | Noted | Ended) -> None:
        """Show bars below the printed lines while there is work."""
        if isinstance(event, Begun):
            if self._bars is None:
                columns = (TextColumn("  {task.description:<9}"), BarColumn(24), MofNCompleteColumn())
                times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("[dim]{task.fields[words]}[/]"))
                self._bars = Bars(*columns, *times, console=console, transient=True)
                self._bars.start()
            self._tasks[event.key] = self._bars.add_task(event.what, total=event.total, words="")
        elif self._bars is not None and event.key in self._tasks:
            task = self._tasks[event.key]
            if isinstance(event, Advanced):
                self._bars.advance(task, event.units)
            elif isinstance(event, Noted):
                self._bars.update(task, words=event.words)
            else:
                self._bars.remove_task(self._tasks.pop(event.key))
                if not self._tasks:
                    self._bars.stop()
                    self._bars = None

    def _note(self, event: Begun | Advanced | Noted | Ended) -> None:
        """Record an event; `_tick` prints lines at intervals, so that a log stays readable and shows progress."""
        if isinstance(event, Begun):
            self._works[event.key] = _Work(event.what, event.total)
            if self._ticking is None:
                self._ticking = threading.Thread(target=self._tick, daemon=True)
                self._ticking.start()
        elif event.key in self._works:
            if isinstance(event, Advanced):
                self._works[event.key].done += event.units
            elif isinstance(event, Noted):
                self._works[event.key].words = event.words
            else:
                del self._works[event.key]

    def _tick(self) -> None:
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self._lock:
                due = [work for work in self._works.values() if now - work.shown_at >= LINE_EVERY]
                for work in due:
                    console.print(f"   {line(work.what, work.done, work.total, work.words, _left(work, now))}")
                    work.shown_at, work.shown_done = now, work.done


def _left(work: _Work, now: float) -> float | None:
    """Return the seconds until the end at the pace since the last line; None if unknown."""
    pace = (work.done - work.shown_done) / (now - work.shown_at)
    return (work.total - work.done) / pace if work.total and pace > 0 else None


def line(what: str, done: int, total: int | None, words: str, left: float | None) -> str:
    """Format progress as `sft 120 of 400 · loss 1.41 · 2 min 05 s left`. `left` is in seconds."""
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    parts = (f"{what} {count}", words, f"{seconds_text(left)} left" if left is not None else "")
    return " · ".join(part for part in parts if part)


BOARD = Board()
REPORTER = Reporter(BOARD.tell)  # for work in the command's own process
progress = REPORTER.progress
