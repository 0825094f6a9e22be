"""Locks on versions: one process writes a version at a time. `folder` is that of its stage."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError


@contextlib.contextmanager
def locked(folder: Path, version: str) -> Iterator[None]:
    """Lock a version for one process. The operating system releases the lock of a killed process.

    The empty lock file stays: if it were deleted, two processes could each lock a different file of that name.
    Raises `PipelineError` if another process holds the lock.
    """
    holder, lock = _holder(folder, version), _lock(folder, version)
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            who = writer(folder, version) or "another process"
            raise PipelineError(
                f"{folder.name}@{version} is being made by {who}. "
                "Wait for it to end; then the same command finds it done."
            ) from None
    try:
        with contextlib.suppress(OSError):  # for messages only; the lock does not need it
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def writer(folder: Path, version: str) -> str | None:
    """Return the process that writes a version now, for messages; None if there is none."""
    if not _lock_file(folder, version).is_file():
        return None
    try:
        with _lock(folder, version):
            return None
    except Timeout:
        holder = _holder(folder, version)
        return (holder.read_text() if holder.is_file() else "") or "another process"
    except OSError:  # a read-only folder: no process writes there
        return None


def remove_lock(folder: Path, version: str) -> None:
    """Remove the files of a lock. Its holder does so only if every other process would be refused as well."""
    for file in (_holder(folder, version), _lock_file(folder, version)):
        file.unlink(missing_ok=True)


def _lock(folder: Path, version: str) -> FileLock:
    return FileLock(_lock_file(folder, version), timeout=0)


def _lock_file(folder: Path, version: str) -> Path:
    return folder / f".{version}.lock"


def _holder(folder: Path, version: str) -> Path:
    return folder / f".{version}.holder"


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn an OSError, such as a full disk or a read-only folder, into a `PipelineError`."""
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"{error.filename or path}: {error.strerror or error}. Artifacts are written there: repair it, or choose "
            "another folder with outputs=DIR."
        ) from error
