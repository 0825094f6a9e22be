"""Settles the meaning of marks of demonstrations (labels, thumbs, stars) over all files of a source."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.data.faults import BadRow
from pipeline.data.formats.coded import Codes, Meanings, check_meanings, no_codes
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.conversations import Row, Turns
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.table import DEMONSTRATIONS, Format
from pipeline.data.loading import rows_with_format
from pipeline.data.reading.files import RawRow

OPTION = "data.codes"


def mark_meanings(files: Sequence[Path], format: str, columns: Mapping[str, str], given: Mapping[str, str]) -> Meanings:
    """The meanings of the marks in all files; files without marks are only read at their start.

    Raises RequestError with the observed values and the option that settles them.
    """
    check_meanings(given, OPTION)
    codes, otherwise = Codes(given, OPTION), ""
    for file in files:
        rows, chosen = rows_with_format(file, format, DEMONSTRATIONS, columns)
        if chosen.codes_of is not no_codes:
            otherwise = otherwise or (_format_without_marks_hint(file, chosen, columns) if format == AUTO else "")
            codes.add(_renamed_rows(rows, columns), chosen.codes_of)
    return codes.settle(files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1:,} more files", otherwise)


def _renamed_rows(rows: Iterator[object], columns: Mapping[str, str]) -> Iterator[Row]:
    for raw in rows:
        if isinstance(raw, RawRow):
            try:
                yield with_columns(raw.fields, columns)
            except BadRow:  # recorded when the row is read
                continue


def _format_without_marks_hint(file: Path, chosen: Format[Turns], columns: Mapping[str, str]) -> str:
    """A hint for a column that does not judge the answers: the format that reads the rows without it."""
    first = next(_renamed_rows(rows_with_format(file, chosen.name, DEMONSTRATIONS, columns)[0], columns), None)
    other = next((one.name for one in DEMONSTRATIONS if one.codes_of is no_codes and _converts(one, first)), None)
    return f" If it does not judge the answers: data.format={other}." if other else ""


def _converts(form: Format[Turns], row: Row | None) -> bool:
    try:
        return row is not None and bool(form.convert(row))
    except BadRow:
        return False
