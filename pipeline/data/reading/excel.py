"""Reads rows of Excel's .xlsx files: a header line, then one record per row, with the displayed values."""

import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from labeling.signatures import ZIP
from pipeline.data.faults import BadRow, Place
from pipeline.data.reading.raw import BrokenRow, RawRow
from pipeline.data.reading.textfiles import refuse_file
from pipeline.errors import RequestError

Cells = Sequence[Any]

_FORMULA = "a formula without a value: open the file in Excel and save it, so that its values are written, too"
_FORMULAS = ("ArrayFormula", "DataTableFormula")


def is_excel(file: Path, head: bytes) -> bool:
    """Whether a file that begins with these bytes is an archive with a workbook in it."""
    if not head.startswith(ZIP):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def excel_rows(file: Path) -> Iterator[RawRow | BrokenRow]:
    """All rows of the only filled sheet. The line of a row is its number in the sheet.

    An empty cell is empty text, a date is text, a formula is its value.
    Raises RequestError if the file is damaged, several sheets hold rows, no row follows the header, or the header has
    an empty name or one name twice.
    """
    try:
        shown, written = _sheet(file, data_only=True), _sheet(file, data_only=False)
        both = zip(shown.iter_rows(values_only=True), written.iter_rows(values_only=True), strict=False)
        rows = ((line, *cells) for line, cells in enumerate(both, start=1) if _has_value(cells[1]))
        names = _names(file, next(rows)[2])
        first = next(rows, None)
        if first is None:
            raise RequestError(f"{file} holds no rows, only a header. Give a file with at least one row.")
        for line, values, formulas in (first, *rows):
            yield _row(Place(file, line), names, values, formulas)
    except OSError as error:
        refuse_file(file, error)


def _sheet(file: Path, data_only: bool) -> Any:
    """The only filled sheet. With `data_only`, formulas are replaced by the values that Excel saved."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(file, read_only=True, data_only=data_only)
        filled = [sheet for sheet in book.worksheets if any(map(_has_value, sheet.iter_rows(values_only=True)))]
    except Exception as error:  # a damaged archive raises many kinds in openpyxl, zipfile and the XML parser
        raise RequestError(f"{file} is an Excel file, but damaged: {error}. Save it as CSV UTF-8.") from None
    if len(filled) > 1:
        names = ", ".join(sheet.title for sheet in filled)
        raise RequestError(f"{file} has rows in several sheets ({names}). Save the right one as a file of its own.")
    if not filled:
        raise RequestError(f"{file} is empty. Give a file with at least one row.")
    return filled[0]


def _has_value(cells: Cells) -> bool:
    return any(cell is not None for cell in cells)


def _names(file: Path, header: Cells) -> list[str]:
    names = [str(_cell(name)).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise RequestError(f"{file}: a column of the header has no name. Name every column.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(f"{file}: two columns are named {twice!r}. Rename one of them.")
    return names


def _row(place: Place, names: Sequence[str], values: Cells, formulas: Cells) -> RawRow | BrokenRow:
    cells = {name: _cell(value) for name, value in zip(names, values, strict=False)}
    lost = [
        name for name, *cell in zip(names, values, formulas, strict=False) if cell[0] is None and _is_formula(cell[1])
    ]
    if lost:
        return BrokenRow(place, str(cells), BadRow(lost[0], None, _FORMULA))
    if _has_value(formulas[len(names) :]):
        return BrokenRow(place, str(cells), BadRow(None, None, "the row has more cells than the header"))
    return RawRow(place, {**dict.fromkeys(names, ""), **cells})


def _cell(value: Any) -> object:
    """The value; None becomes empty text, a date or a time becomes text."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, date | time) else value


def _is_formula(value: object) -> bool:
    return (isinstance(value, str) and value.startswith("=")) or type(value).__name__ in _FORMULAS
