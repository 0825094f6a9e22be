"""Small acts on files that have to be right everywhere: whole or not at all, and for whom."""

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


def copy(source: Path, target: Path) -> None:
    """A file of its own: what is done to it later is not done to the source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


def open_to_others(folder: Path) -> None:
    """Let all in a folder be read by whoever the umask lets read new files: safetensors' own are for their owner."""
    masked = os.umask(0)
    os.umask(masked)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~masked)


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
