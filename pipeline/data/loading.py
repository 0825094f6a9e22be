"""How a file's format is settled, and how its raw rows become what that format holds."""

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
from pipeline.data.ledger import Ledger, OnBadRow, excerpt_of, refuse_row
from pipeline.data.reading.files import BrokenRow, RawRow, read_rows
from pipeline.errors import RequestError

T = TypeVar("T")
_VOTERS = 100  # rows by which a file's format is told


def rows_with_format(
    file: Path,
    name: str,
    formats: Sequence[Format[T]],
    columns: Mapping[str, str] | None = None,
    unnest: Callable[[Row], list[tuple[str, Row]]] | None = None,
) -> tuple[Iterator[RawRow | BrokenRow], Format[T]]:
    """All rows of a file, and the format of that name, or for `auto` the one that its first rows are in.

    `columns` are those that get names of ours before anybody looks (`with_columns`). `unnest` takes rows apart that
    stand for several, each with its place in the row.

    Raises RequestError if the file cannot be read, or its format cannot be told.
    """
    rows: Iterator[RawRow | BrokenRow] = map(_unprinted, read_rows(file))
    if unnest:
        rows = chain.from_iterable(_apart(raw, unnest) for raw in rows)
    if name != AUTO:
        return rows, format_named(name, formats)
    head = list(islice(rows, _VOTERS))
    named = [_renamed(raw.fields, columns or {}) for raw in head if isinstance(raw, RawRow)]
    if not named and (broken := [raw for raw in head if isinstance(raw, BrokenRow)]):
        raise RequestError(
            f"{file}: none of its first {len(head)} rows can be read; the first: {broken[0].place}: {broken[0].fault}. "
            "Write one row as {…}, a JSON object, or mend what is wrong with them."
        )
    return chain(head, rows), detect(named, formats, file, mapped="completion" in (columns or {}))


def _unprinted(raw: RawRow | BrokenRow) -> RawRow | BrokenRow:
    """The row with printed lists read back and turns in their lists; a broken row where they cannot be."""
    if isinstance(raw, BrokenRow):
        return raw
    try:
        fields = as_rows_are(unprinted(raw.fields))
    except BadRow as fault:
        return BrokenRow(raw.place, excerpt_of(raw.fields), fault)
    return raw if fields is raw.fields else RawRow(raw.place, fields)


def _apart(raw: RawRow | BrokenRow, unnest: Callable[[Row], list[tuple[str, Row]]]) -> Iterator[RawRow | BrokenRow]:
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
    except BadRow:  # said when the row is read
        return row


def converted(
    raw: RawRow | BrokenRow, convert: Callable[[Row], list[T]], ledger: Ledger, on_bad_row: OnBadRow = "drop"
) -> list[T]:
    """What a raw row holds, counted; nothing, and an entry in the ledger, if it cannot be used.

    Raises RequestError instead with `on_bad_row="error"`, unless the row itself says that it is not to be used.
    """
    try:
        if isinstance(raw, BrokenRow):
            raise raw.fault
        found = convert(raw.fields)
    except BadRow as fault:
        ledger.saw()
        left_out = isinstance(fault, LeftOut)
        content = raw.text if isinstance(raw, BrokenRow) else raw.fields
        entry = ledger.drop(raw.place, fault, content, "cleaning" if left_out else "format")
        if on_bad_row == "error" and not left_out:
            raise refuse_row(entry) from None
        return []
    ledger.saw(len(found))
    return found
