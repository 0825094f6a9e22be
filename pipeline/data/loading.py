"""Detects a file's format and converts its raw rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.detection import AUTO, detect, format_named
from pipeline.data.formats.printed import unprinted
from pipeline.data.formats.table import Format
from pipeline.data.formats.turned import as_rows_are
from pipeline.data.ledger import Ledger, excerpt_of
from pipeline.data.reading.files import BrokenRow, RawRow, read_rows, read_span
from pipeline.data.reading.spans import Span
from pipeline.errors import RequestError

T = TypeVar("T")
_MAX_ROWS_FOR_DETECTION = 100


def rows_with_format(
    file: Path,
    name: str,
    formats: Sequence[Format[T]],
    columns: Mapping[str, str] | None = None,
    unnest: Callable[[Row], list[tuple[str, Row]]] | None = None,
) -> tuple[Iterator[RawRow | BrokenRow], Format[T]]:
    """(all rows of a file, its format): the named format, or for `auto` the one detected from the first rows.

    `columns` are renamed before detection (`with_columns`). `unnest` splits a row that stands for several rows, each
    with its place within the row.

    Raises RequestError if the file cannot be read or its format is unclear.
    """
    rows: Iterator[RawRow | BrokenRow] = map(_unprinted, read_rows(file))
    if unnest:
        rows = chain.from_iterable(_unnested(raw, unnest) for raw in rows)
    if name != AUTO:
        return rows, format_named(name, formats)
    head = list(islice(rows, _MAX_ROWS_FOR_DETECTION))
    named = [_renamed(raw.fields, columns or {}) for raw in head if isinstance(raw, RawRow)]
    if not named and (broken := [raw for raw in head if isinstance(raw, BrokenRow)]):
        raise RequestError(
            f"{file}: none of its first {len(head)} rows can be read; the first: {broken[0].place}: {broken[0].fault}. "
            "Write each row as {…}, a JSON object, or correct these rows."
        )
    return chain(head, rows), detect(named, formats, file, mapped="completion" in (columns or {}))


def rows_of_span(span: Span) -> Iterator[RawRow | BrokenRow]:
    """The rows of a span as `rows_with_format` gives those of a file."""
    return map(_unprinted, read_span(span))


def _unprinted(raw: RawRow | BrokenRow) -> RawRow | BrokenRow:
    """The row with printed lists parsed and turns in lists; a broken row if parsing fails."""
    if isinstance(raw, BrokenRow):
        return raw
    try:
        fields = as_rows_are(unprinted(raw.fields))
    except BadRow as fault:
        return BrokenRow(raw.place, excerpt_of(raw.fields), fault)
    return raw if fields is raw.fields else RawRow(raw.place, fields)


def _unnested(raw: RawRow | BrokenRow, unnest: Callable[[Row], list[tuple[str, Row]]]) -> Iterator[RawRow | BrokenRow]:
    if isinstance(raw, BrokenRow):
        yield raw
        return
    for inner, fields in unnest(raw.fields):
        item = raw.place.item
        place = replace(raw.place, item=inner if item is None else f"{item}.{inner}") if inner else raw.place
        yield raw if fields is raw.fields else RawRow(place, fields)


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    try:
        return with_columns(row, columns)
    except BadRow:  # reported when the row is read
        return row


def convert_row(raw: RawRow | BrokenRow, convert: Callable[[Row], list[T]], ledger: Ledger) -> list[T]:
    """The converted items of a raw row, counted in the ledger; empty, with a ledger entry, if the row is unusable."""
    try:
        if isinstance(raw, BrokenRow):
            raise raw.fault
        found = convert(raw.fields)
    except BadRow as fault:
        ledger.count_read()
        content = raw.text if isinstance(raw, BrokenRow) else raw.fields
        ledger.drop(raw.place, fault, content, "cleaning" if isinstance(fault, LeftOut) else "format")
        return []
    ledger.count_read(len(found))
    return found
