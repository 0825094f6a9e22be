"""Reads our own text files, and builds errors about files with a hint how to correct them."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from labeling.signatures import way_out
from pipeline.errors import PipelineError, RequestError

_BOM = b"\xef\xbb\xbf"


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of the non-blank lines of our own UTF-8 file, one at a time.

    Lines end at a newline byte only: `str.splitlines` would also cut at U+2028, which a string may hold.
    Raises RequestError if the file is missing, unreadable or not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            head = b""
            for number, data in enumerate(stream, start=1):
                if number == 1:
                    head, data = data[:4], data.removeprefix(_BOM)
                text = _decode(data, file, before=number - 1, head=head).strip()
                if text:
                    yield number, text
    except OSError as error:
        refuse_file(file, error)


def missing_file(path: Path) -> RequestError:
    """The error for a path that does not exist, with the nearest existing name."""
    folder = path.parent
    names = os.listdir(folder) if folder.is_dir() and os.access(folder, os.R_OK) else []
    stems = {Path(name).stem: name for name in names}  # suffixes are similar anyway
    nearest = difflib.get_close_matches(path.stem, stems, n=1)
    hint = f" Did you mean {folder / stems[nearest[0]]}?" if nearest else " Check the path."
    return RequestError(f"No such file or folder: {path} (looked from {Path.cwd()}).{hint}")


def refuse_file(file: Path, error: OSError) -> NoReturn:
    """Raise the system's error as a RequestError (the user's mistake) or a PipelineError (a failing machine)."""
    if isinstance(error, FileNotFoundError):
        raise missing_file(file) from error
    if isinstance(error, PermissionError):
        raise RequestError(f"{file} may not be read: {error.strerror}. Try `chmod u+r {file}`.") from error
    if isinstance(error, IsADirectoryError):
        raise RequestError(f"{file} is a folder, a file was expected. Name the file inside it.") from error
    raise PipelineError(f"{file} could not be read: {error.strerror}. Check the disk, then try again.") from error


def _decode(data: bytes, file: Path, *, before: int, head: bytes) -> str:
    """Decode UTF-8; `before` is the number of lines before `data`, `head` the first bytes of the file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        good = data[: error.start]
        line = before + good.count(b"\n") + 1
        column = len(good[good.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        hint = way_out(head) or "Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
        raise RequestError(
            f"{file} is not UTF-8: byte 0x{data[error.start]:02x} at line {line}, column {column}. {hint}"
        ) from None
