"""Read users' JSON files by what they hold rather than by their names, as raw rows with their places.

A file is JSON lines, one array of rows, or one object of rows keyed by id. One broken line spoils one row;
one document that does not parse spoils the file, since nobody can say where its next row starts.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.data.faults import BadRow, Place
from pipeline.data.jsontext import parse_json, scan_document
from pipeline.data.textfiles import missing_file, read_text, refuse_file, text_lines
from pipeline.errors import RequestError

Paths = str | Path | Sequence[str | Path]

_SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True)
class RawRow:
    """An object as the user wrote it."""

    place: Place
    fields: dict[str, Any]


@dataclass(frozen=True)
class BrokenRow:
    """Something that is not an object, where a row should be."""

    place: Place
    text: str
    fault: BadRow


def find_files(paths: Paths) -> list[Path]:
    """The files that are meant by a file, a folder, a glob, or a list of these; each once, in a fixed order.

    Raises RequestError for a path that does not exist and for a folder or a glob with nothing to read.
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    found = [file for path in several for file in _reachable_files(Path(path).expanduser())]
    if not found:
        raise RequestError("No data file was named. Give the path of a .json or .jsonl file.")
    return list(dict.fromkeys(found))


def read_rows(file: Path) -> Iterator[RawRow | BrokenRow]:
    """All rows of one file; JSON lines are read one at a time.

    Raises RequestError if the file is missing, unreadable, empty, not UTF-8, or neither JSON nor JSON lines.
    """
    first_lines = list(islice(text_lines(file), 2))
    if not first_lines:
        raise RequestError(f"{file} is empty. Give a file with at least one row.")
    if len(first_lines) == 2 and _parses(first_lines[0][1]):
        return _read_lines(file)
    return _read_document(file)


def _reachable_files(path: Path) -> list[Path]:
    try:
        return _files(path)
    except OSError as error:
        refuse_file(path, error)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix in _SUFFIXES and entry.is_file())
        if not files:
            raise RequestError(
                f"The folder {path} has no .json or .jsonl file. "
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


def _parses(text: str) -> bool:
    """Whether the text is one whole object."""
    try:
        return isinstance(parse_json(text), dict)
    except json.JSONDecodeError:
        return False


def _read_lines(file: Path) -> Iterator[RawRow | BrokenRow]:
    for number, text in text_lines(file):
        try:
            yield _row(Place(file, number), parse_json(text))
        except json.JSONDecodeError as error:
            fault = BadRow(f"column {error.colno}", None, f"not valid JSON: {error.msg}")
            yield BrokenRow(Place(file, number), text, fault)


def _read_document(file: Path) -> Iterator[RawRow | BrokenRow]:
    text = read_text(file)
    opening = text.lstrip()[0]
    try:
        items = scan_document(text)
    except json.JSONDecodeError as error:
        needed = 2 if opening == "[" else 1  # a cut array may end with a whole object on a line of its own
        if len(list(islice((line for _, line in text_lines(file) if _parses(line)), needed))) == needed:
            return _read_lines(file)
        raise RequestError(
            f"{file}, line {error.lineno}, column {error.colno}: neither JSON ({error.msg}) nor JSON lines. "
            "Is it cut off, or of another format? Give an array of rows, an object of rows keyed by id, "
            "or one object per line."
        ) from None
    if opening == "{" and not all(isinstance(value, dict) for _, _, value in items):
        return iter([RawRow(Place(file, 1), {str(key): value for key, _, value in items})])
    if not items:
        raise RequestError(f"{file} holds no rows. Give a file with at least one row.")
    return (_row(Place(file, line, key), value) for key, line, value in items)


def _row(place: Place, value: object) -> RawRow | BrokenRow:
    if isinstance(value, dict):
        return RawRow(place, value)
    return BrokenRow(place, json.dumps(value, ensure_ascii=False), BadRow(None, None, "not a JSON object"))
