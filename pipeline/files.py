"""Small acts on files that have to be right everywhere; those that write one are labeling's, which uses them, too."""

import hashlib
import os
import shutil
from pathlib import Path

from labeling.files import is_temporary, sync, write_atomically

__all__ = ["copy", "file_hash", "is_temporary", "open_to_others", "stat_of", "sync", "write_atomically"]


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
