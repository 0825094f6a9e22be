"""Files that are there whole or not at all, whatever interrupts their writer."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".{name}.{process}.tmp"  # beside its target, hidden; left behind only by a kill


@contextlib.contextmanager
def open_atomically(path: Path, *, owner_only: bool = False) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file's content when the block ends well; until then the old content stays.

    The bytes are on the disk before the file has its name, and the name is before the block is left. `owner_only`
    files are closed to others from the start. Raises OSError; the folder has to exist.
    """
    temporary = path.with_name(TEMPORARY.format(name=path.name, process=os.getpid()))
    temporary.unlink(missing_ok=True)  # of a killed process with this id; its permissions would stay
    mode = 0o600 if owner_only else 0o666
    stream = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
    try:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk refuses what is left in the buffer, too
            stream.close()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        sync(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text in UTF-8, as `open_atomically` does; makes the folder where there is none."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as stream:
        stream.write(data)


def is_temporary(path: Path) -> bool:
    """Whether a file was left behind by a write that was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def sync(path: Path) -> None:
    """Return only when the file's bytes, or the folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
