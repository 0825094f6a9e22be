"""Rows that a stopped run goes on from: one JSON value a line, each on the disk before the next is made."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.files import sync, write_atomically


class RowLog:
    """A file that grows by rows. Opened again, it loses the row that a kill cut off, and no other."""

    def __init__(self, path: Path) -> None:
        """Read the rows that are there. Raises PipelineError where one before the last is damaged."""
        self.path = path
        self.rows: list[Any] = []
        self._size = 0  # bytes of whole rows
        if path.is_file():
            self._read(path.read_bytes())

    def _read(self, data: bytes) -> None:
        *lines, cut = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self.rows.append(json.loads(line))
            except ValueError:
                if number < len(lines) or cut:
                    raise PipelineError(
                        f"{self.path}, line {number}: not valid JSON, although rows follow it: the file was damaged or "
                        "edited. Remove it: the same command makes its rows again."
                    ) from None
            else:
                self._size += len(line) + 1
        if self._size < len(data):
            os.truncate(self.path, self._size)

    def append(self, *rows: Any) -> None:
        """Add rows; they are on the disk when this returns. Raises OSError, and the file is then as it was."""
        data = _lines(rows)
        is_new = not self.path.is_file()
        try:
            with self.path.open("ab") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._size)
            raise
        if is_new:
            with contextlib.suppress(OSError):  # not every file system lets a folder be synced
                sync(self.path.parent)
        self.rows += rows
        self._size += len(data)

    def keep(self, rows: Sequence[Any]) -> None:
        """Leave these rows alone, all at once."""
        data = _lines(rows)
        write_atomically(self.path, data)
        self.rows, self._size = list(rows), len(data)


def _lines(rows: Sequence[Any]) -> bytes:
    """Half a surrogate pair, which UTF-8 cannot hold, becomes its JSON escape."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")
