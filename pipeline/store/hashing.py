"""What a version is hashed from: a configuration, and files of the user's own."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError
from pipeline.files import file_hash, stat_of, write_atomically

DIGITS = 12  # of a version: 48 bits, and short enough to read aloud
LARGE = 1_000_000  # bytes from which on a file's hash is worth remembering


def content_hash(value: Any) -> str:
    """The version that a JSON-able value stands for; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class HashCache:
    """sha256 of large files that others own, remembered by path, size and time, so that planning stays fast."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text())
            self._known = known if isinstance(known, dict) else {}

    def version_of(self, path: Path) -> str:
        """The version of a file or folder: names and contents, wherever it lies.

        Raises `RequestError` for a file that cannot be read.
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
        known = self._known.get(key)
        if not isinstance(known, list) or known[:2] != seen or len(known) != 3:
            self._known[key] = [*seen, file_hash(file)]
            self._changed = True
        return str(self._known[key][-1])

    def keep(self, *, make_folder: bool = False) -> None:
        """Write down what was found out, where its folder's parent is there already: looking leaves nothing behind."""
        if self._changed and (make_folder or self.path.parent.parent.is_dir()):
            with contextlib.suppress(OSError):  # a cache that cannot be kept costs time only
                write_atomically(self.path, json.dumps(self._known))
            self._changed = False
