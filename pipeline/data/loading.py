"""Users' files in, people's judgements and the ledger of what was dropped out; and how a file's format is settled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar, cast

from pipeline.data.duplicates import row_hash
from pipeline.data.faults import BadRow, LeftOut, Place
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.detection import AUTO, detect, format_named
from pipeline.data.formats.labels import Single, group_singles
from pipeline.data.formats.printed import unprinted
from pipeline.data.formats.table import JUDGEMENTS, Format, Judgement, judgements_in
from pipeline.data.ledger import Ledger, OnBadRow, check_bad_fraction, excerpt_of, refuse_row
from pipeline.data.reading.files import BrokenRow, Paths, RawRow, find_files, read_rows
from pipeline.data.rows import Preference, Ranking
from pipeline.errors import RequestError

T = TypeVar("T")
Judgements = tuple[Literal["rankings"], list[Ranking], Ledger] | tuple[Literal["preferences"], list[Preference], Ledger]

_VOTERS = 100  # rows by which a file's format is told
_UNPAIRED = BadRow(None, None, "no answer with the other label to the same prompt")


def rows_with_format(
    file: Path, name: str, formats: Sequence[Format[T]], columns: Mapping[str, str] | None = None
) -> tuple[Iterator[RawRow | BrokenRow], Format[T]]:
    """All rows of a file, and the format of that name, or for `auto` the one that its first rows are in.

    `columns` are those that get names of ours before anybody looks (`with_columns`).

    Raises RequestError if the file cannot be read, or its format cannot be told.
    """
    rows = map(_unprinted, read_rows(file))
    if name != AUTO:
        return rows, format_named(name, formats)
    head = list(islice(rows, _VOTERS))
    named = [_renamed(raw.fields, columns or {}) for raw in head if isinstance(raw, RawRow)]
    return chain(head, rows), detect(named, formats, file, mapped="completion" in (columns or {}))


def _unprinted(raw: RawRow | BrokenRow) -> RawRow | BrokenRow:
    """The row with printed lists read back; a broken row where they cannot be."""
    if isinstance(raw, BrokenRow):
        return raw
    try:
        fields = unprinted(raw.fields)
    except BadRow as fault:
        return BrokenRow(raw.place, excerpt_of(raw.fields), fault)
    return raw if fields is raw.fields else RawRow(raw.place, fields)


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


def load_rankings_or_pairs(
    paths: Paths, format: str = AUTO, on_bad_row: OnBadRow = "drop", max_bad_fraction: float = 0.2
) -> Judgements:
    """People's judgements without duplicates, and the ledger: rankings, or pairs made from them already.

    Single answers that somebody marked become rankings with those of the same prompt.
    Raises RequestError if a file cannot be read, its format cannot be told, too many rows are malformed, or some files
    hold rankings and others pairs.
    """
    ledger, kinds = Ledger(), set[str]()
    judged: list[Judgement] = []
    places: list[Place] = []
    seen: set[str] = set()
    for file in find_files(paths):
        rows, chosen = rows_with_format(file, format, JUDGEMENTS)
        kinds.add(chosen.kind)
        for raw in rows:
            for judgement in converted(raw, partial(judgements_in, format=chosen), ledger, on_bad_row):
                identity = row_hash(judgement)
                if identity in seen:
                    ledger.drop(raw.place, BadRow(None, None, "duplicate"), judgement, "duplicate")
                    continue
                seen.add(identity)
                judged.append(judgement)
                places.append(raw.place)
    if len(kinds) > 1:
        raise RequestError(f"{paths} hold both rankings and preference pairs. Name files of one kind.")
    if kinds == {"preferences"}:
        check_bad_fraction(ledger, max_bad_fraction)
        return "preferences", cast(list[Preference], judged), ledger
    rankings = _ranked(judged, places, ledger)
    check_bad_fraction(ledger, max_bad_fraction)
    return "rankings", rankings, ledger


def _ranked(judged: Sequence[Judgement], places: Sequence[Place], ledger: Ledger) -> list[Ranking]:
    """The rankings, with those that marked answers come to; answers that nothing can be compared with are entered."""
    rankings = [cast(Ranking, one) for one in judged if "good" not in one]
    marked = [number for number, one in enumerate(judged) if "good" in one]
    grouped, unpaired = group_singles([cast(Single, judged[number]) for number in marked])
    for number in unpaired:
        ledger.drop(places[marked[number]], _UNPAIRED, judged[marked[number]], "unpaired")
    return [*rankings, *grouped]
