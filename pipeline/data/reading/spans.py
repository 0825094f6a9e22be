"""Spans of files: where the parts of a data set start and end that several machines read.

All files are laid end to end and cut into parts of equal size in bytes. A cut moves to the next end of a line; a file
that cannot be cut goes whole to the part that holds its middle. So parts follow each other as the rows do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.reading.textfiles import refuse_file

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Span:
    """The bytes of a file from `start` to before `end`, or to its end."""

    file: Path
    start: int = 0
    end: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start == 0 and self.end is None


def spans_of(files: Sequence[Path], number: int, count: int, can_be_cut: Callable[[Path], bool]) -> list[list[Span]]:
    """The spans of part `number` (from 1) of `count` in each of the files [files]: none, or one.

    Each byte of a file is in one part. Raises RequestError if a file is missing or unreadable.
    """
    sizes = [_size(file) for file in files]
    first = sum(sizes) * (number - 1) // count
    last = sum(sizes) * number // count if number < count else math.inf  # empty files at the end are in the last part
    spans, start = [], 0
    for file, size in zip(files, sizes, strict=True):
        spans.append(_spans_of_file(file, size, first - start, last - start, can_be_cut))
        start += size
    return spans


def lines_before(span: Span) -> int:
    """Number of lines before a span, as text streams count them: a line ends at LF, CR or both."""
    lines, left, returned = 0, span.start, False
    with span.file.open("rb") as stream:
        while left and (data := stream.read(min(_CHUNK, left))):
            both = data.count(b"\r\n") + (returned and data.startswith(b"\n"))
            lines += data.count(b"\n") + data.count(b"\r") - both
            left, returned = left - len(data), data.endswith(b"\r")
    return lines


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        refuse_file(file, error)


def _spans_of_file(file: Path, size: int, first: int, last: float, can_be_cut: Callable[[Path], bool]) -> list[Span]:
    """The span of a file between two cuts, which are counted from its start and may lie outside it."""
    if last <= 0 or first >= max(size, 1):  # an empty file is where its start is
        return []
    if first <= 0 and size <= last:
        return [Span(file)]
    if not can_be_cut(file):
        return [Span(file)] if first <= size // 2 < last else []
    start = _next_line(file, first) if first > 0 else 0
    end = _next_line(file, int(last)) if last < size else size
    return [Span(file, start, end if end < size else None)] if start < end else []


def _next_line(file: Path, place: int) -> int:
    """The start of the first line at or after a place."""
    with file.open("rb") as stream:
        stream.seek(place - 1)
        stream.readline()
        return stream.tell()
