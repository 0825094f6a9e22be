"""Hashes configurations and user files into versions."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError
from pipeline.files import file_hash, stat_of, write_atomically

DIGITS = 12  # hexadecimal digits of a version: 48 bits, and short enough to read aloud
LARGE = 1_000_000  # bytes; hashes of smaller files are not cached


def content_hash(value: Any) -> str:
    """Return the version of a JSON value: the first `DIGITS` digits of its sha256. The order of keys has no effect."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class HashCache:
    """Caches the sha256 of large user files by path, size and time, so that planning is fast."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cache: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            cached = json.loads(path.read_text())
            self._cache = cached if isinstance(cached, dict) else {}

    def version_of(self, path: Path) -> str:
        """Return the version of a file or folder, from file names in it and contents, independent of its path.

        Raises `RequestError` if a file cannot be read.
        """
        try:
            files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
            hashes = {"." if p == path else p.relative_to(path).as_posix(): self._hash(p) for p in files}
        except OSError as error:
            raise RequestError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None
        self.keep()
        return content_hash(hashes)

    def _hash(self, file: Path) -> str:
        key, seen = str(file.resolve()), stat_of(file)
        if seen is None or seen[0] < LARGE:
            return file_hash(file)
        cached = self._cache.get(key)
        if not isinstance(cached, list) or cached[:2] != seen or len(cached) != 3:
            self._cache[key] = [*seen, file_hash(file)]
            self._changed = True
        return str(self._cache[key][-1])

    def keep(self, *, make_folder: bool = False) -> None:
        """Write new hashes to disk if the outputs folder exists or `make_folder` is set.

        A command that only reads must not create the folder.
        """
        if self._changed and (make_folder or self.path.parent.parent.is_dir()):
            with contextlib.suppress(OSError):  # without the cache, only time is lost
                write_atomically(self.path, json.dumps(self._cache))
            self._changed = False
