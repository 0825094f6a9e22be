"""Text files of our own: written under a temporary name, then renamed, so that nobody reads half of one."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError


@contextmanager
def line_writer(path: Path) -> Iterator[Callable[[str], object]]:
    """A function that writes one line; the file is there once the block has ended well.

    Half a surrogate pair, which UTF-8 cannot hold, is written as its JSON escape. Raises PipelineError if the
    disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            yield lambda line: stream.write(line + "\n")
        os.replace(temporary, path)
    except OSError as error:
        raise PipelineError(
            f"{path} could not be written: {error.strerror}. Check the free space and the permissions of {path.parent}."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write all lines, or nothing. Raises PipelineError as `line_writer` does."""
    with line_writer(path) as write:
        for line in lines:
            write(line)
