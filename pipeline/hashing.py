"""What a version is hashed from: a configuration, and files of the user's own."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.files import file_hash, stat_of, write_atomically

DIGITS = 12  # of a version: 48 bits, and short enough to read aloud


def content_hash(value: Any) -> str:
    """The version that a JSON-able value stands for; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class HashCache:
    """sha256 of large files that others own, remembered by path, size and time, so that planning stays fast."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = {}
        if path.is_file():
            try:
                self._known = json.loads(path.read_text())
            except ValueError:
                self._known = {}

    def version_of(self, path: Path) -> str:
        """The version of a file or folder: names and contents, wherever it lies."""
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return content_hash({"." if p == path else p.relative_to(path).as_posix(): self._hash(p) for p in files})

    def _hash(self, file: Path) -> str:
        key, seen = str(file.resolve()), stat_of(file)
        if self._known.get(key, [None])[:2] != seen:
            self._known[key] = [*(seen or []), file_hash(file)]
            self._save()
        return str(self._known[key][2])

    def _save(self) -> None:
        try:
            write_atomically(self.path, json.dumps(self._known))
        except OSError:
            return  # a cache that cannot be kept costs time only
