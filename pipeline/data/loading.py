"""Users' files in, clean rows and the ledger of what was dropped out."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar, cast

from pipeline.data.duplicates import DataRow, row_hash
from pipeline.data.faults import BadRow
from pipeline.data.formats import AUTO, DEMONSTRATIONS, PREFERENCES, RANKINGS, Format, detect, format_named
from pipeline.data.ledger import DUPLICATE, Ledger, OnBadRow, check_bad_fraction, refuse_row
from pipeline.data.reading import BrokenRow, Paths, RawRow, find_files, read_rows
from pipeline.data.rows import Demonstration, Preference, Ranking
from pipeline.errors import RequestError

RowT = TypeVar("RowT", bound=DataRow)

Judgements = tuple[Literal["rankings"], list[Ranking], Ledger] | tuple[Literal["preferences"], list[Preference], Ledger]

_VOTERS = 100


def load_demonstrations(
    paths: Paths,
    format: str = AUTO,
    on_bad_row: OnBadRow = "drop",
    max_bad_fraction: float = 0.2,
    unfit: Callable[[Demonstration], str | None] = lambda row: None,
) -> tuple[list[Demonstration], Ledger, str]:
    """Demonstrations without duplicates, the ledger, and the formats they were in, joined by a comma.

    `unfit` gives the reason why a well-formed row is left out all the same (too long for a model), if it is.

    Raises RequestError if a file cannot be read, its format cannot be told, or too many rows are malformed.
    """
    rows, ledger, found = _load(paths, DEMONSTRATIONS, format, on_bad_row, max_bad_fraction, unfit)
    return rows, ledger, ", ".join(dict.fromkeys(one.name for one in found))


def load_rankings_or_pairs(
    paths: Paths, format: str = AUTO, on_bad_row: OnBadRow = "drop", max_bad_fraction: float = 0.2
) -> Judgements:
    """People's judgements without duplicates, and the ledger: rankings, or pairs made from them already.

    Raises RequestError as `load_demonstrations` does, and if some files hold rankings and others pairs.
    """
    formats: tuple[Format[Ranking | Preference], ...] = (*RANKINGS, *PREFERENCES)
    rows, ledger, found = _load(paths, formats, format, on_bad_row, max_bad_fraction)
    kinds = {one.kind for one in found}
    if len(kinds) > 1:
        raise RequestError(f"{paths} hold both rankings and preference pairs. Name files of one kind.")
    if kinds == {"rankings"}:
        return "rankings", cast(list[Ranking], rows), ledger
    return "preferences", cast(list[Preference], rows), ledger


def _load(
    paths: Paths,
    formats: Sequence[Format[RowT]],
    name: str,
    on_bad_row: OnBadRow,
    max_bad_fraction: float,
    unfit: Callable[[RowT], str | None] = lambda row: None,
) -> tuple[list[RowT], Ledger, list[Format[RowT]]]:
    named = None if name == AUTO else format_named(name, formats)
    ledger, seen = Ledger(), set[str]()
    rows: list[RowT] = []
    found: list[Format[RowT]] = []
    for file in find_files(paths):
        raw_rows, chosen = _with_format(file, formats, named)
        found.append(chosen)
        rows.extend(row for raw in raw_rows for row in _accepted(raw, chosen, ledger, seen, on_bad_row, unfit))
    check_bad_fraction(ledger, max_bad_fraction)
    return rows, ledger, found


def _with_format(
    file: Path, formats: Sequence[Format[RowT]], named: Format[RowT] | None
) -> tuple[Iterator[RawRow | BrokenRow], Format[RowT]]:
    raw_rows = read_rows(file)
    head = list(islice(raw_rows, _VOTERS))
    chosen = named or detect([raw.fields for raw in head if isinstance(raw, RawRow)], formats, file)
    return chain(head, raw_rows), chosen


def _accepted(
    raw: RawRow | BrokenRow,
    chosen: Format[RowT],
    ledger: Ledger,
    seen: set[str],
    on_bad_row: OnBadRow,
    unfit: Callable[[RowT], str | None],
) -> Iterator[RowT]:
    """The row, if it can be used, is new and fits; otherwise nothing, and an entry in the ledger."""
    ledger.read += 1
    try:
        row = _converted(raw, chosen)
    except BadRow as fault:
        content = raw.text if isinstance(raw, BrokenRow) else raw.fields
        entry = ledger.drop(raw.place, fault, content)
        if on_bad_row == "error":
            raise refuse_row(entry) from None
        return
    identity = row_hash(row)
    if identity in seen:
        ledger.drop(raw.place, BadRow(None, None, DUPLICATE), row, malformed=False)
        return
    seen.add(identity)
    reason = unfit(row)
    if reason:
        ledger.drop(raw.place, BadRow(None, None, reason), row, malformed=False)
        return
    yield row


def _converted(raw: RawRow | BrokenRow, chosen: Format[RowT]) -> RowT:
    if isinstance(raw, BrokenRow):
        raise raw.fault
    return chosen.convert(raw.fields)
