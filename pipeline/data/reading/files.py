"""Reads users' files as raw rows with their places; contents, not names, decide the kind of file."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.reading.columnar import columnar_rows
from pipeline.data.reading.compression import is_compressed, unpacked
from pipeline.data.reading.encodings import UTF8, encoding_of, opened_text
from pipeline.data.reading.excel import excel_rows, is_excel
from pipeline.data.reading.folders import saved_files
from pipeline.data.reading.jsonfiles import is_json, is_json_lines, json_rows, line_rows
from pipeline.data.reading.prose import prose_rows
from pipeline.data.reading.raw import BrokenRow, RawRow
from pipeline.data.reading.signatures import HEAD_BYTES, is_columnar
from pipeline.data.reading.spans import Span
from pipeline.data.reading.tables import find_delimiter, table_rows
from pipeline.data.reading.textfiles import missing_file, refuse_file
from pipeline.errors import RequestError

__all__ = [
    "SUFFIXES",
    "BrokenRow",
    "Paths",
    "RawRow",
    "can_be_cut",
    "encoding_of",
    "find_files",
    "listed_files",
    "read_rows",
    "read_span",
]

Paths = str | Path | Sequence[str | Path]

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".txt")
_COMPRESSED = (".gz", ".zst")
_LOOK_AHEAD = 1 << 16


def find_files(paths: Paths) -> list[Path]:
    """The files of a path, a folder, a glob or a list of these; each once, in a fixed order.

    A folder stands for its direct files with a readable suffix, compressed or not; a folder written by `save_to_disk`
    for its data files. Raises RequestError for a path that does not exist and for a folder or a glob without readable
    files.
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    found = [file for path in several for file in _reachable_files(Path(path).expanduser())]
    if not found:
        raise RequestError("No data file was named. Give the path of a file, for example a .jsonl or .csv file.")
    return list(dict.fromkeys(found))


def listed_files(files: Sequence[Path]) -> str:
    """The first file's name and the number of further files."""
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1:,} more files"


def read_rows(file: Path) -> Iterator[RawRow | BrokenRow]:
    """All rows of one file of JSON, JSON lines, CSV, TSV, parquet, Arrow, Excel or plain text, compressed or not.

    Rows are read one at a time, except from a JSON document, which is read whole. `encoding_of` gives the encoding.
    Raises RequestError if the file is missing, unreadable, damaged as a whole, empty, or of another kind.
    """
    head = _first_bytes(file)
    if is_columnar(head):
        return columnar_rows(file)
    if is_excel(file, head):
        return excel_rows(file)
    encoding = encoding_of(file)
    lines = _first_lines(file, encoding)
    if is_json(lines):
        return json_rows(file, encoding, lines)
    delimiter = find_delimiter(lines)
    if delimiter:
        return table_rows(file, encoding, delimiter)
    return prose_rows(file, encoding, lines)


def read_span(span: Span) -> Iterator[RawRow | BrokenRow]:
    """The rows of a span, with their places in the whole file. Raises RequestError as `read_rows` does."""
    return read_rows(span.file) if span.is_whole else line_rows(span, UTF8)


def can_be_cut(file: Path) -> bool:
    """Whether a span of the file can be read without what is before it: JSON lines in UTF-8, not compressed."""
    if is_compressed(file) or is_columnar(head := _first_bytes(file)) or is_excel(file, head):
        return False
    encoding = encoding_of(file)
    return encoding == UTF8 and is_json(lines := _first_lines(file, encoding)) and is_json_lines(lines)


def _first_bytes(file: Path) -> bytes:
    with unpacked(file) as stream:
        return stream.read(HEAD_BYTES)


def _first_lines(file: Path, encoding: str) -> list[str]:
    """The first whole lines, with three non-blank ones if the file has so many. Raises RequestError without any."""
    lines: list[str] = []
    characters = filled = 0
    with opened_text(file, encoding, newline="") as stream:
        for line in stream:
            lines.append(line)
            characters += len(line)
            filled += bool(line.strip())
            if characters >= _LOOK_AHEAD and filled > 2:
                break
    if not filled:
        raise RequestError(f"{file} is empty. Give a file with at least one row.")
    return lines


def _reachable_files(path: Path) -> list[Path]:
    try:
        return _files(path)
    except OSError as error:
        refuse_file(path, error)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        if saved := saved_files(path):
            return saved
        files = sorted(entry for entry in path.iterdir() if _is_data(entry))
        if not files:
            raise RequestError(
                f"The folder {path} has no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file. "
                f"Name the files, or use a glob such as '{path}/**/*.jsonl'."
            )
        return files
    if not path.exists() and glob.has_magic(str(path)):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if not files:
            raise RequestError(f"No file matches {path} (looked from {Path.cwd()}). Check the pattern.")
        return files
    if not path.exists():
        raise missing_file(path)
    return [path]


def _is_data(entry: Path) -> bool:
    name = entry.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES) and entry.is_file()
