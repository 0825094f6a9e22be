"""Reads, cleans and deduplicates users' rows with constant memory.

Rows lie on disk while they are compared (`Scratch`); memory holds a few numbers per row.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.deduplication.decisions import Decisions, decide
from pipeline.data.deduplication.minhash import boilerplate_of
from pipeline.data.faults import BadRow, Place
from pipeline.data.formats.coded import Meanings, no_codes
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.readings import Reading
from pipeline.data.formats.table import DEMONSTRATIONS
from pipeline.data.ledger import Ledger, OnBadRow, check_bad_fraction, excerpt_of, refuse_row
from pipeline.data.loading import rows_of_span, rows_with_format
from pipeline.data.marks import mark_meanings
from pipeline.data.parallel import map_in_order
from pipeline.data.reading.files import can_be_cut
from pipeline.data.reading.spans import Span, spans_of
from pipeline.data.row_cleaning import MAX_EXAMPLES, Change, CleanedPiece, LeftOutRow, Piece, RowCleaner, texts_of
from pipeline.data.rows import Demonstration
from pipeline.data.scratch import Scratch

ROWS_PER_PIECE = 1000  # rows cleaned by one call of a process
BOILERPLATE_SAMPLE = 2000  # rows per source in which boilerplate is searched

Measure = Callable[[Sequence[Demonstration]], Sequence[int]]
"""Returns the number of tokens of each conversation."""


@dataclass(frozen=True)
class Source:
    """Files that belong together, under one name."""

    name: str
    files: Sequence[Path]
    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)  # mark -> meaning
    weight: float = 1.0  # how often each row is drawn
    tested: bool = False  # test data: neither its rows nor similar ones are trained on


@dataclass(frozen=True)
class Settings:
    """Which rows are dropped and how rows are compared."""

    row_cleaner: RowCleaner
    on_bad_row: OnBadRow = "drop"
    max_bad_fraction: float = 0.2
    shortest: int = 0  # tokens per conversation
    longest: int | None = None
    threshold: float = 0.8  # Jaccard similarity at or above which texts are near-duplicates
    drop_near: bool = True
    conflicts: str = "keep"
    processes: int = 1


@dataclass
class Gathered:
    """All rows to compare, and the ledger of the others."""

    scratch: Scratch
    ledger: Ledger
    sources: Sequence[Source]
    files: list[Path] = field(default_factory=list)
    readings: dict[str, dict[str, Reading]] = field(default_factory=dict)  # source -> format -> how its rows were read
    meanings: dict[str, Meanings] = field(default_factory=dict)  # source -> meanings of its marks
    changed: Counter[str] = field(default_factory=Counter)  # cleaning rule -> rows
    flagged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Change]] = field(default_factory=dict)  # rule -> its first changes

    def sentences(self) -> dict[str, list[str]]:
        """Source -> sentences on how its rows were read."""
        return {
            name: [text for one in readings.values() for text in one.sentences(self.meanings[name])]
            for name, readings in self.readings.items()
        }

    def place(self, row: int, item: int | str | None = None) -> Place:
        """The place of a row in the user's files."""
        return Place(self.files[int(self._file_of[row])], int(self._line_of[row]), item)

    @cached_property
    def _file_of(self) -> NDArray[np.int32]:
        return self.scratch.column("file")

    @cached_property
    def _line_of(self) -> NDArray[np.int64]:
        return self.scratch.column("line")


class KeptRow(NamedTuple):
    """A row of the scratch file, with its index or key in the user's file."""

    row: Demonstration
    item: int | str | None


def gather(
    sources: Sequence[Source],
    settings: Settings,
    scratch: Scratch,
    ledger: Ledger,
    measure: Measure | None = None,
    advance: Callable[[int], None] = lambda rows: None,
    spans: Sequence[Sequence[Span]] | None = None,
) -> Gathered:
    """Read, clean and measure all rows of all sources, test sources first; or of the `spans` of a shard.

    Raises RequestError if a file cannot be read, its format is unclear, or too many of all rows are malformed.
    """
    ordered = in_order(sources)
    gathered = Gathered(scratch, ledger, ordered)
    for number, source in enumerate(ordered):
        pieces = _with_boilerplate(source, spans[number] if spans else whole(source), gathered, settings)
        for cleaned in map_in_order(settings.row_cleaner, pieces, settings.processes):
            _add_piece(cleaned, number, gathered, settings, measure)
            advance(len(cleaned.rows) + len(cleaned.out))
    if spans is None:  # a shard alone does not show that files were misread
        check_bad_fraction(ledger, settings.max_bad_fraction)
    return gathered


def in_order(sources: Sequence[Source]) -> list[Source]:
    """The sources in the order of their rows: of equal rows those of test sources come first."""
    return sorted(sources, key=lambda source: not source.tested)


def whole(source: Source) -> list[Span]:
    """All files of a source."""
    return [Span(file) for file in source.files]


def spans_of_shard(sources: Sequence[Source], number: int, count: int) -> list[list[Span]]:
    """The spans of shard `number` (from 1) of `count`, for each source in order [sources]."""
    ordered = in_order(sources)
    spans = iter(spans_of([file for source in ordered for file in source.files], number, count, can_be_cut))
    return [[span for found in islice(spans, len(source.files)) for span in found] for source in ordered]


def deduplicate(gathered: Gathered, settings: Settings) -> Decisions:
    """Decide which of all gathered rows are duplicates, overlaps or conflicts."""
    tested = np.array([source.tested for source in gathered.sources])[gathered.scratch.column("source")]
    return decide(
        gathered.scratch.column,
        tested,
        threshold=settings.threshold,
        drop_near=settings.drop_near,
        conflicts=settings.conflicts,
    )


def kept_rows(scratch: Scratch) -> Iterator[KeptRow]:
    """All gathered rows, in order, one at a time."""
    for line in scratch.lines():
        row, item = json.loads(line)
        yield KeptRow(row, item)


def _pieces(source: Source, spans: Sequence[Span], gathered: Gathered) -> Iterator[Piece]:
    """The rows of a source's spans, in order. Marks are settled over all files before the first row with a mark."""
    meanings = gathered.meanings.setdefault(source.name, {})
    for span in spans:
        raw, chosen = rows_with_format(span.file, source.format, DEMONSTRATIONS, source.columns)
        if not span.is_whole:  # the format is that of the whole file
            raw = rows_of_span(span)
        if chosen.codes_of is not no_codes and not meanings:
            meanings = mark_meanings(source.files, source.format, source.columns, source.codes)
            gathered.meanings[source.name] = meanings
        gathered.readings.setdefault(source.name, {}).setdefault(chosen.name, Reading(chosen.name))
        while rows := list(islice(raw, ROWS_PER_PIECE)):
            yield Piece(rows, chosen.name, source.name, source.columns, meanings)


def _with_boilerplate(source: Source, spans: Sequence[Span], gathered: Gathered, settings: Settings) -> Iterator[Piece]:
    """The pieces of these spans with the boilerplate of their source: n-grams that too many of its texts share."""
    pieces = _pieces(source, spans, gathered)
    if not settings.row_cleaner.fingerprints or not spans:
        yield from pieces
        return
    if list(spans) == whole(source):
        head = _head(pieces)
        pieces = chain(head, pieces)
    else:  # a shard: the first rows of the source are read for this alone
        head = _head(_pieces(source, whole(source), replace(gathered, readings={})))
    plain = RowCleaner(settings.row_cleaner.cleaner, settings.row_cleaner.mend_roles, fingerprints=False)
    common = boilerplate_of([text for piece in head for text in texts_of(plain(piece).rows)])
    for piece in pieces:
        yield replace(piece, boilerplate=common)


def _head(pieces: Iterator[Piece]) -> list[Piece]:
    return list(islice(pieces, -(-BOILERPLATE_SAMPLE // ROWS_PER_PIECE)))


def _add_piece(
    cleaned: CleanedPiece, source: int, gathered: Gathered, settings: Settings, measure: Measure | None
) -> None:
    """Add the rows of a piece to the scratch file and its dropped rows to the ledger."""
    name, ledger = gathered.sources[source].name, gathered.ledger
    ledger.count_read(len(cleaned.rows) + len(cleaned.out), name)
    tokens = measure(cleaned.rows) if measure else [0] * len(cleaned.rows)
    unfit = {row: reason for row, count in enumerate(tokens) if (reason := _misfit(count, settings))}
    for place, step, fault, excerpt in _left_out(cleaned, unfit):
        entry = ledger.drop(place, fault, excerpt, step, source=name)
        if step == "format" and settings.on_bad_row == "error":
            raise refuse_row(entry)
    if cleaned.reading is not None:
        gathered.readings[name][cleaned.reading.format].merge(cleaned.reading)
    gathered.changed += cleaned.changed
    gathered.flagged += cleaned.flagged
    for change in cleaned.examples:
        shown = gathered.examples.setdefault(change.rule, [])
        if len(shown) < MAX_EXAMPLES:
            shown.append(change)
    fits = np.array([row not in unfit for row in range(len(cleaned.rows))], dtype=bool)
    _write_to_scratch(cleaned, fits, np.array(tokens, dtype=np.int32), source, gathered)


def _misfit(tokens: int, settings: Settings) -> str:
    """Why a row of so many tokens is left out; empty if it is not."""
    if settings.longest is not None and tokens > settings.longest:
        return f"longer than {settings.longest} tokens"
    return f"shorter than {settings.shortest} tokens" if tokens < settings.shortest else ""


def _left_out(cleaned: CleanedPiece, unfit: Mapping[int, str]) -> list[LeftOutRow]:
    """The rows of a piece that are left out, in the order of the file, so that the ledger does not depend on pieces."""
    lengths = [
        LeftOutRow(cleaned.places[row], "length", BadRow(None, None, reason), excerpt_of(cleaned.rows[row]["messages"]))
        for row, reason in unfit.items()
    ]
    return sorted([*cleaned.out, *lengths], key=lambda one: one.place.line)


def _write_to_scratch(
    cleaned: CleanedPiece, fits: NDArray[np.bool_], tokens: NDArray[np.int32], source: int, gathered: Gathered
) -> None:
    rows = np.flatnonzero(fits)
    places = [cleaned.places[row] for row in rows]
    for place in places:
        if not gathered.files or place.file != gathered.files[-1]:
            gathered.files.append(place.file)
    lines = [json.dumps([cleaned.rows[row], place.item]) for row, place in zip(rows, places, strict=True)]
    columns = {name: values[rows] for name, values in cleaned.columns.items()}
    own: dict[str, NDArray[Any]] = {
        "file": np.full(len(rows), len(gathered.files) - 1, dtype=np.int32),  # a piece is of one file
        "line": np.array([place.line for place in places], dtype=np.int64),
        "tokens": tokens[rows],
        "source": np.full(len(rows), source, dtype=np.int16),
    }
    gathered.scratch.add(lines, {**columns, **own})
