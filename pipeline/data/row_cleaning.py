"""Every row by itself: its columns mapped, its format read, its texts cleaned, its fingerprints taken.

A piece of work is a list of raw rows of one file, so that several processes can do several pieces at once.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.deduplication.minhash import UInt64s, bands_of, signatures
from pipeline.data.faults import BadRow, LeftOut, Place
from pipeline.data.formats.coded import Meanings, with_meanings
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.detection import format_named
from pipeline.data.formats.oddities import odd_texts
from pipeline.data.formats.readings import Reading
from pipeline.data.formats.table import DEMONSTRATIONS, demonstrations_in
from pipeline.data.formats.watching import WatchedRow
from pipeline.data.ledger import Step, excerpt_of
from pipeline.data.reading.files import BrokenRow, RawRow
from pipeline.data.rows import Demonstration, Message, content_hash, opening

ROLES = "roles"  # the rule that mends who speaks when; formats know of it, since only they see what was written
_AROUND = 60  # characters shown on both sides of a change
_EXAMPLES = 3  # of each rule and piece


@dataclass(frozen=True)
class Piece:
    """Raw rows of one file of a source, and how they are to be read."""

    raw: Sequence[RawRow | BrokenRow]
    format: str
    source: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    meanings: Meanings = field(default_factory=dict)  # of the format's codes
    boilerplate: UInt64s = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


class Change(NamedTuple):
    """What a rule made of a text, around the first place where it differs."""

    rule: str
    place: Place
    before: str
    after: str


class Out(NamedTuple):
    """A row that is left out."""

    place: Place
    step: Step
    fault: BadRow
    excerpt: str


@dataclass
class Refined:
    """What came of a piece. `columns` has one value for each row that went on."""

    rows: list[Demonstration] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    out: list[Out] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)  # rule -> rows
    flagged: Counter[str] = field(default_factory=Counter)
    examples: list[Change] = field(default_factory=list)
    reading: Reading | None = None  # how the rows were read
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Refiner:
    """Refines pieces; picklable. `fingerprints` for rows that are to be compared with others afterwards."""

    cleaner: Cleaner
    mend_roles: bool = False
    fingerprints: bool = True

    def __call__(self, piece: Piece) -> Refined:
        done = Refined()
        chosen = format_named(piece.format, DEMONSTRATIONS)
        done.reading = reading = Reading(chosen.name)
        for raw in piece.raw:
            try:
                if isinstance(raw, BrokenRow):
                    raise raw.fault
                row = WatchedRow(
                    with_meanings(with_columns(raw.fields, piece.columns), chosen.codes_of, piece.meanings)
                )
                found = demonstrations_in(row, chosen, self.mend_roles)
                reading.add(row)
            except BadRow as fault:
                if isinstance(fault, LeftOut):
                    reading.add(row)
                excerpt = excerpt_of(raw.text if isinstance(raw, BrokenRow) else raw.fields)
                step: Step = "cleaning" if isinstance(fault, LeftOut) else "format"
                done.out.append(Out(raw.place, step, fault, excerpt))
                continue
            for conversation, mended in found:
                done.changed[ROLES] += mended
                reading.tell(_told(conversation["messages"]))
                reading.tell(odd_texts(conversation["messages"]))
                self._clean(conversation, raw.place, done)
        if self.fingerprints:
            done.columns = fingerprints(done.rows, piece.boilerplate, piece.source)
        return done

    def _clean(self, row: Demonstration, place: Place, done: Refined) -> None:
        before = row["messages"]
        cleaned = self.cleaner(before)
        done.changed.update(cleaned.changed)
        done.flagged.update(cleaned.flagged)
        if cleaned.dropped is not None:
            fault = BadRow(cleaned.field, cleaned.role, cleaned.dropped)
            done.out.append(Out(place, "cleaning", fault, excerpt_of(before)))
            return
        for rule, texts in zip(cleaned.changed, cleaned.texts, strict=True):
            if sum(change.rule == rule for change in done.examples) < _EXAMPLES:
                done.examples.append(Change(rule, place, *_difference(*texts)))
        said = [turn for turn in cleaned.messages if turn["role"] != "system" or turn["content"].strip()]
        done.rows.append({**row, "messages": said})
        done.places.append(place)


def fingerprints(rows: Sequence[Demonstration], boilerplate: UInt64s, source: str = "") -> dict[str, NDArray[Any]]:
    """What tells whether rows say the same: hashes of the whole, of the opening prompt and of the conversation's name
    (0 where it has none) [rows], and of whole and prompt the signatures and their bands [rows, …].
    """
    prompts = [opening(row["messages"]) for row in rows]
    whole, asked = signatures(texts_of(rows), boilerplate), signatures(list(map(_said, prompts)), boilerplate)
    return {
        "content": _numbers([_content(row["messages"]) for row in rows]),
        "prompt": _numbers(list(map(content_hash, prompts))),
        "conversation": _numbers([_hash(source, row["id"]) if row.get("id") else "0" for row in rows]),
        "text_signature": whole,
        "text_bands": bands_of(whole),
        "prompt_signature": asked,
        "prompt_bands": bands_of(asked),
    }


def texts_of(rows: Sequence[Demonstration]) -> list[str]:
    """All that is said in each row, but for answers not learned and the system turn, often the same for all."""
    return [_said(row["messages"]) for row in rows]


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(
        turn["content"] for turn in messages if turn["role"] != "system" and turn.get("train") is not False
    )


def _content(messages: Sequence[Message]) -> str:
    """A hash of what is learned: of the texts, and where there are any, of the marks and of the reasoning."""
    beside = [Message(role=str(turn.get("train")), content=turn.get("reasoning_content", "")) for turn in messages]
    return content_hash(messages, *([beside] if any(len(turn) > 2 for turn in messages) else []))


def _told(messages: Sequence[Message]) -> Counter[str]:
    """What a person should know of the answers."""
    told: Counter[str] = Counter()
    for turn in messages:
        if turn.get("train") is False:
            told["an answer is marked as not to be learned: it is context"] += 1
        if turn.get("reasoning_content"):
            told["an answer comes with its reasoning (model.thinking says what becomes of it)"] += 1
    return told


def _numbers(hashes: Sequence[str]) -> UInt64s:
    return np.array([int(one[:16], 16) for one in hashes], dtype=np.uint64)


def _hash(source: str, identifier: str) -> str:
    """Of a conversation's name, which says nothing outside its own source: many count from 0."""
    return hashlib.sha256(json.dumps([source, identifier]).encode()).hexdigest()


def _difference(before: str, after: str) -> tuple[str, str]:
    """Both texts around the first place where they differ."""
    least = min(len(before), len(after))
    start = max(0, next((place for place in range(least) if before[place] != after[place]), least) - _AROUND)
    return before[start : start + 2 * _AROUND], after[start : start + 2 * _AROUND]
