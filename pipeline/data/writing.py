"""Text files of our own: written under a temporary name, then renamed, so that nobody reads half of one."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import PipelineError


@contextmanager
def line_writer(path: Path) -> Iterator[Callable[[str], object]]:
    """A function that writes one line; the file is there once the block has ended well.

    Half a surrogate pair, which UTF-8 cannot hold, is written as its JSON escape. Raises PipelineError if the
    disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        stream = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")

    def write(line: str) -> None:
        try:
            stream.write(line + "\n")
        except OSError as error:
            raise _unwritten(path, error) from error

    try:
        yield write
        with _writing(path):
            stream.close()
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # what went wrong before is said
            stream.close()
        temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> PipelineError:
    return PipelineError(
        f"{path} could not be written: {error.strerror}. Check the free space and the permissions of {path.parent}."
    )


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write all lines, or nothing. Raises PipelineError as `line_writer` does."""
    with line_writer(path) as write:
        for line in lines:
            write(line)
