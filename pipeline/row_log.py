"""A log of rows from which a stopped run resumes: one JSON value per line, on disk before the next one is made."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.files import sync, write_atomically


class RowLog:
    """A file to which rows are appended. When opened again, it drops only a last row that a kill cut off."""

    def __init__(self, path: Path) -> None:
        """Read the existing rows. Raises `PipelineError` if a row before the last is damaged."""
        self.path = path
        self.rows: list[Any] = []
        self._size = 0  # bytes of complete rows
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
        """Append rows; they are on disk when this returns. If it raises OSError, the file is unchanged."""
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
            with contextlib.suppress(OSError):  # some file systems cannot sync a folder
                sync(self.path.parent)
        self.rows += rows
        self._size += len(data)

    def keep(self, rows: Sequence[Any]) -> None:
        """Replace the file's content with these rows, atomically."""
        data = _lines(rows)
        write_atomically(self.path, data)
        self.rows, self._size = list(rows), len(data)


def _lines(rows: Sequence[Any]) -> bytes:
    """Encode rows as JSON lines. A lone surrogate, which UTF-8 cannot encode, becomes its JSON escape."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")
