"""Terminal output: one line per stage, remarks, and errors."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

WIDTH = None if sys.stdout.isatty() else 120  # columns, also when the output is a file or a pipe

console = Console(highlight=False, soft_wrap=True, width=WIDTH)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def quiet_logging() -> None:
    """Send log messages only to the versions' log files.

    Handlers print no traceback: if a full disk cuts a log short, the stage's error reports it.
    """
    logging.basicConfig(handlers=[logging.NullHandler()])
    logging.raiseExceptions = False
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line for every request to an endpoint


@contextlib.contextmanager
def counting(total: int) -> Iterator[Callable[[int, Mapping[str, int]], None]]:
    """Yield a function that shows (total done, count per person): a bar on a terminal, else at most a line a minute."""
    if not sys.stdout.isatty():
        lines = SparseLines()
        yield lambda done, counts: lines.print(f"   {done:,} of {total:,}   {counts_text(counts)}")
        return
    with Bars(TextColumn("  {task.description}"), BarColumn(24), MofNCompleteColumn(), console=console) as bars:
        task = bars.add_task("", total=total)
        yield lambda done, counts: bars.update(task, completed=done, description=counts_text(counts))


def counts_text(counts: Mapping[str, int]) -> str:
    """Format counts per person as `annotator1 96   annotator2 0 (not started)`."""
    return "   ".join(f"{name} {count:,}{'' if count else ' (not started)'}" for name, count in sorted(counts.items()))


class SparseLines:
    """Prints lines that differ from the last one, at most one a minute."""

    def __init__(self) -> None:
        self._last, self._at = "", -60.0

    def print(self, text: str) -> None:
        if text != self._last and time.monotonic() - self._at >= 60:
            console.print(text)
            self._last, self._at = text, time.monotonic()


def time_text(created: str) -> str:
    """Format a manifest's time as `2026-01-31 12:00:00 UTC`."""
    return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def seconds_text(seconds: float) -> str:
    """Format seconds as `31 s`, `4 min 05 s` or `2 h 10 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
