"""Marks of demonstrations (labels, thumbs, stars): what they mean, settled over all files of a source."""

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


def marks_of(
    files: Sequence[Path], format: str, columns: Mapping[str, str], given: Mapping[str, str], option: str = OPTION
) -> Meanings:
    """What the marks in all files mean; files without marks are not read through.

    Raises RequestError with the values seen and the line that settles them.
    """
    check_meanings(given, option)
    codes, otherwise = Codes(given, option), ""
    for file in files:
        rows, chosen = rows_with_format(file, format, DEMONSTRATIONS, columns)
        if chosen.codes_of is not no_codes:
            otherwise = otherwise or (_way_out(file, chosen, columns) if format == AUTO else "")
            codes.add(_fields(rows, columns), chosen.codes_of)
    return codes.settle(files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1:,} more files", otherwise)


def _fields(rows: Iterator[object], columns: Mapping[str, str]) -> Iterator[Row]:
    for raw in rows:
        if isinstance(raw, RawRow):
            try:
                yield with_columns(raw.fields, columns)
            except BadRow:  # entered when the row is read
                continue


def _way_out(file: Path, chosen: Format[Turns], columns: Mapping[str, str]) -> str:
    """How to say that the column is no judgement of the answers: by a format that reads the rows without it."""
    first = next(_fields(rows_with_format(file, chosen.name, DEMONSTRATIONS, columns)[0], columns), None)
    other = next((one.name for one in DEMONSTRATIONS if one.codes_of is no_codes and _converts(one, first)), None)
    return f" If it does not judge the answers: data.format={other}." if other else ""


def _converts(form: Format[Turns], row: Row | None) -> bool:
    try:
        return row is not None and bool(form.convert(row))
    except BadRow:
        return False
