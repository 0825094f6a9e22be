"""Text files of our own, line by line: whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from labeling.files import open_atomically
from pipeline.errors import PipelineError


@contextmanager
def line_writer(path: Path) -> Iterator[Callable[[str], object]]:
    """Yields a function that writes one line; the file appears when the block ends without an error.

    A lone surrogate, which UTF-8 cannot hold, is written as its JSON escape. Raises PipelineError if the disk is full
    or the folder is not writable.
    """
    with ExitStack() as opened:
        with _reporting_errors(path):
            stream = opened.enter_context(open_atomically(path))

        def write(line: str) -> None:
            data = (line + "\n").encode("utf-8", "backslashreplace")
            try:
                stream.write(data)
            except OSError as error:
                raise _write_error(path, error) from error

        yield write
        with _reporting_errors(path):
            opened.close()


@contextmanager
def _reporting_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> PipelineError:
    return PipelineError(
        f"{path} could not be written: {error.strerror}. Check the free space and the permissions of {path.parent}."
    )


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write all lines, or nothing. Raises PipelineError as `line_writer` does."""
    with line_writer(path) as write:
        for line in lines:
            write(line)
