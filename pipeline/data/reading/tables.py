"""Reads rows of CSV and TSV files: a header line, then one record per row; quoted cells may hold line breaks."""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pipeline.data.faults import BadRow, Place
from pipeline.data.reading.encodings import damage, opened_text, readable
from pipeline.data.reading.raw import BrokenRow, RawRow
from pipeline.errors import RequestError

_DELIMITERS = "\t;,"
_NAME = re.compile(r"[^\W\d][\w .:/#-]{0,38}[\w)]?")
COLUMNS = frozenset(
    (
        *("id", "prompt", "prompts", "instruction", "input", "question", "query", "context", "system", "history"),
        *("completion", "response", "responses", "output", "answer", "chosen", "rejected", "winner", "preference"),
        *("text", "messages", "conversation", "conversations", "tools", "category", "source"),
        *("annotator", "ranking", "rankings", "rank", "label", "margin", "score", "rating", "feedback"),
        *("response1", "response2", "response_a", "response_b", "output1", "output2", "answer_a", "answer_b"),
    )
)


class Record(NamedTuple):
    """The cells of a record, its first line, its text, and the fault in its quotes, if any."""

    cells: list[str]
    line: int
    text: str
    fault: str | None


def find_delimiter(head: Sequence[str]) -> str | None:
    """The delimiter of the table that begins with these lines: tab, semicolon or comma; None without a table.

    A table has at least two header names known to this project; or header names without space around the delimiter and
    records with as many cells. Prose with commas has neither.
    """
    return next((delimiter for delimiter in _DELIMITERS if _is_table(head, delimiter)), None)


def table_rows(file: Path, encoding: str, delimiter: str) -> Iterator[RawRow | BrokenRow]:
    """All rows of a table, one at a time; an empty cell is empty text.

    Raises RequestError if the header has an empty name or one name twice, if no row follows, or if a quote never ends.
    """
    csv.field_size_limit(sys.maxsize)
    with opened_text(file, encoding, newline="") as stream:
        records = _records(file, stream, delimiter)
        names = _header(file, next(records))
        first = next(records, None)
        if first is None:
            raise RequestError(f"{file} holds no rows, only a header. Give a file with at least one row.")
        for record in chain([first], records):
            yield _row(Place(file, record.line), record, names, encoding)


def _is_table(head: Sequence[str], delimiter: str) -> bool:
    csv.field_size_limit(sys.maxsize)
    records = [cells for cells in csv.reader(head, delimiter=delimiter) if cells]
    if not records or len(records[0]) < 2:
        return False
    names, *rows = records
    if sum(name.strip().lower() in COLUMNS for name in names) >= 2:
        return True
    rows = rows[:-1] or rows  # the last one may continue beyond these lines
    alike = sum(len(cells) == len(names) for cells in rows)
    named = all(map(_NAME.fullmatch, names if names[0] else names[1:]))  # the first may be an index without a name
    return named and 0 < len(rows) * 9 <= alike * 10


def _records(file: Path, lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """The non-blank records. After a record with a fault in its quotes, the next one starts on the next line."""
    taken: list[str] = []

    def taking() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(taking(), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
    line = 1
    while True:
        cells, fault = [], None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = str(error)
        if fault == "unexpected end of data":
            raise _endless(file, line)
        text = "".join(taken)
        if text.strip():
            yield Record(cells, line, text, fault)
        line += len(taken)
        taken.clear()


def _header(file: Path, record: Record) -> list[str]:
    names = [name.strip() for name in record.cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if record.fault or "" in names:
        raise RequestError(
            f"{file}, line {record.line}: {record.fault or 'a column of the header has no name'}. "
            "Name every column; pandas leaves its index out with `to_csv(..., index=False)`."
        )
    if twice is not None:
        raise RequestError(f"{file}, line {record.line}: two columns are named {twice!r}. Rename one of them.")
    return names


def _row(place: Place, record: Record, names: Sequence[str], encoding: str) -> RawRow | BrokenRow:
    fault = _fault(record, names) or damage(record.text, encoding)
    if fault is not None:
        return BrokenRow(place, readable(record.text), fault)
    return RawRow(place, dict(zip(names, record.cells, strict=True)))


def _fault(record: Record, names: Sequence[str]) -> BadRow | None:
    if record.fault:
        return BadRow(None, None, f"quotes are misplaced: {record.fault}")
    if len(record.cells) == len(names):
        return None
    many = "more" if len(record.cells) > len(names) else "fewer"
    return BadRow(None, None, f"the row has {many} cells than the header")


def _endless(file: Path, line: int) -> RequestError:
    return RequestError(
        f"{file}, line {line}: a quote in the row that starts here never closes, so the start of the next row is "
        "unknown. Is the file cut off? Close the quote, or delete what is left of the row."
    )
