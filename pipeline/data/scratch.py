"""Rows on disk while they are compared: texts as lines, numbers as columns."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

_LINES = "rows.jsonl"
_CHUNK = 1 << 20


class Scratch:
    """Collects lines and columns of equal length; read it after closing. The caller removes the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.count = 0
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._files: dict[str, BinaryIO] = {}

    @classmethod
    def of(cls, folder: Path, described: Mapping[str, Any]) -> Self:
        """The rows that another process collected in a folder, by its `description`, to read."""
        scratch = cls(folder)
        scratch.count = described["count"]
        scratch._shapes = {name: (np.dtype(kind), tuple(shape)) for name, (kind, shape) in described["columns"].items()}
        return scratch

    def description(self) -> dict[str, Any]:
        """The number of rows, and type and shape of each column, as JSON."""
        columns = {name: [kind.str, list(shape)] for name, (kind, shape) in self._shapes.items()}
        return {"count": self.count, "columns": columns}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as stack:  # closes all files even if closing one fails
            for file in self._files.values():
                stack.callback(file.close)

    def add(self, lines: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows; every column has one value (or row of values) for each, and the same type each time."""
        self._file(_LINES).write("".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass"))
        for name, values in columns.items():
            assert len(values) == len(lines), f"{name}: {len(values)} values for {len(lines)} rows"
            self._shapes.setdefault(name, (values.dtype, values.shape[1:]))
            self._file(name).write(np.ascontiguousarray(values).data)
        self.count += len(lines)

    def extend(self, other: "Scratch", changed: Mapping[str, NDArray[Any]]) -> None:
        """Append all rows of another one, with other values in the columns that are `changed`."""
        if not other.count:
            return
        for name in [_LINES, *(name for name in other._shapes if name not in changed)]:
            with (other.folder / name).open("rb") as stream:
                shutil.copyfileobj(stream, self._file(name), _CHUNK)
        for name, values in changed.items():
            assert len(values) == other.count, f"{name}: {len(values)} values for {other.count} rows"
            self._file(name).write(np.ascontiguousarray(values).data)
        for name, shape in other._shapes.items():
            assert self._shapes.setdefault(name, shape) == shape, f"{name}: {shape}, and {self._shapes[name]} before"
        self.count += other.count

    def lines(self) -> Iterator[str]:
        """The lines, in order, one at a time."""
        if self.count:
            with (self.folder / _LINES).open("rb") as stream:
                for line in stream:
                    yield line.decode("utf-8", "surrogatepass")

    def column(self, name: str) -> NDArray[Any]:
        """A column [rows, …], mapped from disk: only the parts in use take memory, while the array is referenced."""
        dtype, shape = self._shapes[name]
        if not self.count:  # an empty file cannot be mapped
            return np.empty((0, *shape), dtype)
        return np.memmap(self.folder / name, dtype, "r", shape=(self.count, *shape))

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self.folder / name).open("wb")
        return self._files[name]
