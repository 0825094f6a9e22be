"""From users' files to rows that are clean and judged among each other, in memory that stays flat.

Rows lie on disk while they are compared (`Scratch`); what is held of each is a few numbers.
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

from pipeline.data.deduplication.decisions import Judged, judge
from pipeline.data.deduplication.minhash import boilerplate_of
from pipeline.data.faults import BadRow, Place
from pipeline.data.formats.coded import Meanings, no_codes
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.readings import Reading
from pipeline.data.formats.table import DEMONSTRATIONS
from pipeline.data.ledger import Ledger, OnBadRow, check_bad_fraction, refuse_row
from pipeline.data.loading import rows_with_format
from pipeline.data.marks import marks_of
from pipeline.data.parallel import mapped
from pipeline.data.row_cleaning import Change, Piece, Refined, Refiner, texts_of
from pipeline.data.rows import Demonstration
from pipeline.data.scratch import Scratch

PIECE = 1000  # rows that are refined at once
SAMPLE = 2000  # rows of a source in which boilerplate is looked for
_EXAMPLES = 4  # of what each rule changed

Measure = Callable[[Sequence[Demonstration]], Sequence[int]]
"""Tokens of each conversation."""


@dataclass(frozen=True)
class Source:
    """Files that belong together, under one name."""

    name: str
    files: Sequence[Path]
    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)  # what marks mean
    weight: float = 1.0  # how often each row is drawn
    tested: bool = False  # what policies are tested on: never trained on, nor anything like it


@dataclass(frozen=True)
class Settings:
    """What is left out, and how rows are compared."""

    refiner: Refiner
    on_bad_row: OnBadRow = "drop"
    max_bad_fraction: float = 0.2
    shortest: int = 0  # tokens of a conversation
    longest: int | None = None
    threshold: float = 0.8  # similarity from which two texts are near-duplicates
    drop_near: bool = True
    conflicts: str = "keep"
    processes: int = 1


@dataclass
class Gathered:
    """All rows that are fit to be compared, and the account of the others."""

    scratch: Scratch
    ledger: Ledger
    sources: Sequence[Source]
    files: list[Path] = field(default_factory=list)
    readings: dict[str, dict[str, Reading]] = field(default_factory=dict)  # source -> format -> how its rows were read
    meanings: dict[str, Meanings] = field(default_factory=dict)  # source -> what its marks mean
    changed: Counter[str] = field(default_factory=Counter)  # cleaning rule -> rows
    flagged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Change]] = field(default_factory=dict)  # rule -> what it changed

    def sentences(self) -> dict[str, list[str]]:
        """How the rows of each source were read, in sentences."""
        return {
            name: [text for one in readings.values() for text in one.sentences(self.meanings[name])]
            for name, readings in self.readings.items()
        }

    def place(self, row: int, item: int | str | None = None) -> Place:
        """Where a row stood."""
        return Place(self.files[int(self._file_of[row])], int(self._line_of[row]), item)

    @cached_property
    def _file_of(self) -> NDArray[np.int32]:
        return self.scratch.column("file")

    @cached_property
    def _line_of(self) -> NDArray[np.int64]:
        return self.scratch.column("line")


class Kept(NamedTuple):
    """A row as it lies in the scratch file."""

    row: Demonstration
    item: int | str | None


def gather(
    sources: Sequence[Source],
    settings: Settings,
    scratch: Scratch,
    ledger: Ledger,
    measure: Measure | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Gathered:
    """Read, refine and measure all rows of all sources, those that are tested on first.

    Raises RequestError if a file cannot be read, its format cannot be told, or too many rows are malformed.
    """
    ordered = sorted(sources, key=lambda source: not source.tested)
    gathered = Gathered(scratch, ledger, ordered)
    for number, source in enumerate(ordered):
        pieces = _with_boilerplate(_pieces(source, gathered), settings)
        for refined in mapped(settings.refiner, pieces, settings.processes):
            _enter(refined, number, gathered, settings, measure)
            advance(len(refined.rows) + len(refined.out))
    check_bad_fraction(ledger, settings.max_bad_fraction)
    return gathered


def compare(gathered: Gathered, settings: Settings) -> Judged:
    """Judge all gathered rows among each other."""
    tested = np.array([source.tested for source in gathered.sources])[gathered.scratch.column("source")]
    return judge(
        gathered.scratch.column,
        tested,
        threshold=settings.threshold,
        drop_near=settings.drop_near,
        conflicts=settings.conflicts,
    )


def kept_rows(scratch: Scratch) -> Iterator[Kept]:
    """All gathered rows, in order, one at a time."""
    for line in scratch.lines():
        row, item = json.loads(line)
        yield Kept(row, item)


def _pieces(source: Source, gathered: Gathered) -> Iterator[Piece]:
    """The rows of a source, file after file; marks are settled over all its files before the first row that has one."""
    meanings: Meanings | None = None
    for position, file in enumerate(source.files):
        raw, chosen = rows_with_format(file, source.format, DEMONSTRATIONS, source.columns)
        if chosen.codes_of is not no_codes and meanings is None:
            meanings = marks_of(source.files[position:], source.format, source.columns, source.codes)
        gathered.meanings[source.name] = meanings or {}
        gathered.readings.setdefault(source.name, {}).setdefault(chosen.name, Reading(chosen.name))
        while rows := list(islice(raw, PIECE)):
            yield Piece(rows, chosen.name, source.name, source.columns, meanings or {})


def _with_boilerplate(pieces: Iterator[Piece], settings: Settings) -> Iterator[Piece]:
    """The same pieces, with what too many texts of the source have in common to tell them apart by."""
    if not settings.refiner.fingerprints:
        yield from pieces
        return
    head = list(islice(pieces, -(-SAMPLE // PIECE)))
    plain = Refiner(settings.refiner.cleaner, settings.refiner.mend_roles, fingerprints=False)
    common = boilerplate_of([text for piece in head for text in texts_of(plain(piece).rows)])
    for piece in chain(head, pieces):
        yield replace(piece, boilerplate=common)


def _enter(refined: Refined, source: int, gathered: Gathered, settings: Settings, measure: Measure | None) -> None:
    """The rows of a piece into the scratch file, those that are left out into the ledger."""
    name, ledger = gathered.sources[source].name, gathered.ledger
    ledger.saw(len(refined.rows) + len(refined.out), name)
    for place, step, fault, excerpt in refined.out:
        entry = ledger.drop(place, fault, excerpt, step, source=name)
        if step == "format" and settings.on_bad_row == "error":
            raise refuse_row(entry)
    if refined.reading is not None:
        gathered.readings[name][refined.reading.format].merge(refined.reading)
    gathered.changed += refined.changed
    gathered.flagged += refined.flagged
    for change in refined.examples:
        shown = gathered.examples.setdefault(change.rule, [])
        if len(shown) < _EXAMPLES:
            shown.append(change)
    tokens = measure(refined.rows) if measure else [0] * len(refined.rows)
    fits = [_fits(*one, name, ledger, settings) for one in zip(refined.rows, refined.places, tokens, strict=True)]
    _keep(refined, np.array(fits, dtype=bool), np.array(tokens, dtype=np.int32), source, gathered)


def _fits(row: Demonstration, place: Place, tokens: int, source: str, ledger: Ledger, settings: Settings) -> bool:
    if settings.longest is not None and tokens > settings.longest:
        reason = f"longer than {settings.longest} tokens"
    elif tokens < settings.shortest:
        reason = f"shorter than {settings.shortest} tokens"
    else:
        return True
    ledger.drop(place, BadRow(None, None, reason), row["messages"], "length", source=source)
    return False


def _keep(
    refined: Refined, fits: NDArray[np.bool_], tokens: NDArray[np.int32], source: int, gathered: Gathered
) -> None:
    rows = np.flatnonzero(fits)
    places = [refined.places[row] for row in rows]
    for place in places:
        if not gathered.files or place.file != gathered.files[-1]:
            gathered.files.append(place.file)
    lines = [json.dumps([refined.rows[row], place.item]) for row, place in zip(rows, places, strict=True)]
    columns = {name: values[rows] for name, values in refined.columns.items()}
    own: dict[str, NDArray[Any]] = {
        "file": np.full(len(rows), len(gathered.files) - 1, dtype=np.int32),  # a piece is of one file
        "line": np.array([place.line for place in places], dtype=np.int64),
        "tokens": tokens[rows],
        "source": np.full(len(rows), source, dtype=np.int16),
    }
    gathered.scratch.add(lines, {**columns, **own})
