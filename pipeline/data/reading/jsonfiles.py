"""Reads rows of JSON files: one object per line, one document of rows, or consecutive objects.

A broken line breaks one row. A document that does not parse breaks the file, since the start of its next row is
unknown.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.faults import BadRow, Place
from pipeline.data.reading.encodings import damage, opened_text, readable
from pipeline.data.reading.jsontext import Item, parse_json, scan_document, scan_objects
from pipeline.data.reading.raw import BrokenRow, RawRow
from pipeline.data.reading.spans import Span, lines_before
from pipeline.data.reading.tables import COLUMNS
from pipeline.errors import RequestError

_SPACE = " \t\r\n\ufeff"  # in joined files, a byte order mark may start any line

_WRAPPERS = ("data", "rows", "examples", "items", "records", "samples", "dataset", "train")
"""Keys of a document that may hold a list of rows."""


def is_json(head: Sequence[str]) -> bool:
    """Whether a file that begins with these lines is JSON; its first row may be broken."""
    filled = _filled_lines(head)
    return filled[0][0] in "[{" or 2 * sum(line[0] == "{" for line in filled) >= len(filled)


def is_json_lines(head: Sequence[str]) -> bool:
    """Whether a file that begins with these lines surely has an object, or several, on most of its lines."""
    filled = _filled_lines(head)
    return len(filled) > 1 and 2 * sum(map(_holds_objects, filled)) > len(filled)


def json_rows(file: Path, encoding: str, head: Sequence[str]) -> Iterator[RawRow | BrokenRow]:
    """All rows of a JSON file that begins with these lines; JSON lines are read one at a time.

    Raises RequestError if it holds no rows or is neither JSON nor JSON lines.
    """
    if is_json_lines(head):
        return line_rows(Span(file), encoding)
    try:
        return _document_rows(file, encoding)
    except json.JSONDecodeError as error:
        filled = _filled_lines(head)
        if len(filled) > 1 and _holds_objects(filled[0]):
            return line_rows(Span(file), encoding)
        raise RequestError(
            f"{file}, line {error.lineno}, column {error.colno}: neither JSON ({error.msg}) nor JSON lines. "
            "Is it cut off, or of another format? Give an array of rows, an object of rows keyed by id, "
            "or one object per line."
        ) from None


def _filled_lines(lines: Sequence[str]) -> list[str]:
    """The non-blank lines without surrounding space."""
    return [text for text in (line.strip(_SPACE) for line in lines) if text]


def _holds_objects(line: str) -> bool:
    """Whether the line is one whole object, or several."""
    try:
        return bool(scan_objects(line))
    except json.JSONDecodeError:
        return False


def line_rows(span: Span, encoding: str) -> Iterator[RawRow | BrokenRow]:
    """The rows of JSON lines, or of a span of them, one at a time."""
    first = 1 + lines_before(span)
    with opened_text(span.file, encoding, start=span.start, end=span.end) as stream:
        for number, line in enumerate(stream, start=first):
            text = line.strip(_SPACE)
            if not text:
                continue
            place = Place(span.file, number)
            fault = None if text.isascii() else damage(text, encoding)
            if fault is not None:
                yield BrokenRow(place, readable(text), fault)
                continue
            try:
                yield _row(place, parse_json(text))
            except json.JSONDecodeError as error:
                yield from _joined_rows(place, text, error)


def _joined_rows(place: Place, text: str, error: json.JSONDecodeError) -> Iterator[RawRow | BrokenRow]:
    """The rows of a line with several objects; one broken row for any other line that does not parse."""
    try:
        items = scan_objects(text)
    except json.JSONDecodeError:
        fault = BadRow(f"column {error.colno}", None, f"not valid JSON: {error.msg}")
        yield BrokenRow(place, readable(text), fault)
    else:
        yield from (_row(Place(place.file, place.line, item.key), item.value) for item in items)


def _document_rows(file: Path, encoding: str) -> Iterator[RawRow | BrokenRow]:
    """The rows of a document or of consecutive objects. Raises JSONDecodeError if the text is neither."""
    with opened_text(file, encoding) as stream:
        text = stream.read()
    items = _items(text)
    if not items:
        raise RequestError(f"{file} holds no rows. Give a file with at least one row.")
    intact = damage(text, encoding) is None
    return (_item_row(file, item, None if intact else text, encoding) for item in items)


def _items(text: str) -> list[Item]:
    try:
        items = scan_document(text)
    except json.JSONDecodeError as error:
        return _objects_or_raise(text, error)
    if rows := _wrapped(items, text):
        return rows
    keyed = items and isinstance(items[0].key, str)
    if keyed and not all(isinstance(item.value, dict) for item in items):
        return [item._replace(key=None) for item in scan_objects(text)]  # an object of plain values is the row itself
    return items


def _wrapped(items: list[Item], text: str) -> list[Item] | None:
    """The rows of an object with one list of rows beside metadata; None for other documents."""
    lists = [item for item in items if item.key in _WRAPPERS and _are_objects(item.value)]
    others = [item for item in items if item not in lists]
    if len(lists) != 1 or any(_are_objects(one.value) or str(one.key).lower() in COLUMNS for one in others):
        return None
    (found,) = lists
    start = text.index("[", text.index(":", found.start))
    above = text.count("\n", 0, start)
    return [
        item._replace(line=item.line + above, start=item.start + start, end=item.end + start)
        for item in scan_document(text[start : found.end])
    ]


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _objects_or_raise(text: str, error: json.JSONDecodeError) -> list[Item]:
    try:
        return scan_objects(text)
    except json.JSONDecodeError as other:
        raise max(
            error, other, key=lambda one: one.pos
        ) from None  # the parser that got further shows the intended kind


def _item_row(file: Path, item: Item, damaged: str | None, encoding: str) -> RawRow | BrokenRow:
    place = Place(file, item.line, item.key)
    fault = damage(damaged[item.start : item.end], encoding) if damaged is not None else None
    if damaged is not None and fault is not None:
        return BrokenRow(place, readable(damaged[item.start : item.end]), fault)
    return _row(place, item.value)


def _row(place: Place, value: object) -> RawRow | BrokenRow:
    if isinstance(value, dict):
        return RawRow(place, value)
    return BrokenRow(place, json.dumps(value, ensure_ascii=False), BadRow(None, None, "not a JSON object"))
