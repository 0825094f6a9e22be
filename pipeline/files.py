"""Small file operations. Those that write are in `labeling.files`, because labeling uses them, too."""

import hashlib
import os
import shutil
from pathlib import Path

from labeling.files import is_temporary, sync, write_atomically

__all__ = ["copy", "file_hash", "is_temporary", "open_to_others", "stat_of", "sync", "write_atomically"]


def copy(source: Path, target: Path) -> None:
    """Copy a file. Later changes to the copy do not change the source, unlike with a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


def open_to_others(folder: Path) -> None:
    """Give everything in a folder the permissions of new files (umask): safetensors writes files for the owner only."""
    masked = os.umask(0)
    os.umask(masked)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~masked)


def stat_of(path: Path) -> list[int] | None:
    """Return [size in bytes, modification time in ns], or None if the file does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits, without loading the file into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
