"""Small acts on files that have to be right everywhere: whole or not at all, linked rather than copied."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

TEMPORARY = ".{name}.{process}.tmp"  # beside its target, hidden; left behind only by a kill


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old content or the new one, whatever happens in between."""
    temporary = path.with_name(TEMPORARY.format(name=path.name, process=os.getpid()))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        sync(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file was left behind by a write that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a large file where the file system allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Return only when the file's bytes, or the folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stat_of(path: Path) -> list[int] | None:
    """[bytes, modification time in ns], or None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
