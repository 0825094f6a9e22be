"""Cleans each row by itself: maps its columns, reads its format, cleans its texts, takes its fingerprints.

A piece of work is a list of raw rows of one file, so that several processes can work at once.
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
from pipeline.data.rows import Demonstration, Message, conversation_hash, opening

ROLES = "roles"  # the rule that corrects the order of turns; formats apply it, since only they see the original
_AROUND = 60  # characters shown on each side of a change
MAX_EXAMPLES = 4  # shown changes per rule; a piece has as many, so that the first of all do not depend on pieces


@dataclass(frozen=True)
class Piece:
    """Raw rows of one file of a source, and how to read them."""

    raw: Sequence[RawRow | BrokenRow]
    format: str
    source: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    meanings: Meanings = field(default_factory=dict)  # of the format's codes
    boilerplate: UInt64s = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


class Change(NamedTuple):
    """An excerpt of a text before and after a rule, around the first difference."""

    rule: str
    place: Place
    before: str
    after: str


class LeftOutRow(NamedTuple):
    """A dropped row."""

    place: Place
    step: Step
    fault: BadRow
    excerpt: str


@dataclass
class CleanedPiece:
    """The result of a piece. `columns` has one value per kept row."""

    rows: list[Demonstration] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    out: list[LeftOutRow] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)  # rule -> rows
    flagged: Counter[str] = field(default_factory=Counter)
    examples: list[Change] = field(default_factory=list)
    reading: Reading | None = None  # how the rows were read
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowCleaner:
    """Cleans pieces; picklable. `fingerprints` prepares rows for comparison with others."""

    cleaner: Cleaner
    mend_roles: bool = False
    fingerprints: bool = True

    def __call__(self, piece: Piece) -> CleanedPiece:
        done = CleanedPiece()
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
                done.out.append(LeftOutRow(raw.place, step, fault, excerpt))
                continue
            for conversation, mended in found:
                done.changed[ROLES] += mended
                reading.add_remarks(_answer_remarks(conversation["messages"]))
                reading.add_remarks(odd_texts(conversation["messages"]))
                self._clean(conversation, raw.place, done)
        if self.fingerprints:
            done.columns = fingerprints(done.rows, piece.boilerplate, piece.source)
        return done

    def _clean(self, row: Demonstration, place: Place, done: CleanedPiece) -> None:
        before = row["messages"]
        cleaned = self.cleaner(before)
        if cleaned.changed or cleaned.flagged:  # few rows are
            done.changed.update(cleaned.changed)
            done.flagged.update(cleaned.flagged)
        if cleaned.dropped is not None:
            fault = BadRow(cleaned.field, cleaned.role, cleaned.dropped)
            done.out.append(LeftOutRow(place, "cleaning", fault, excerpt_of(before)))
            return
        for rule, texts in zip(cleaned.changed, cleaned.texts, strict=True):
            if sum(change.rule == rule for change in done.examples) < MAX_EXAMPLES:
                done.examples.append(Change(rule, place, *_around_difference(*texts)))
        kept = [turn for turn in cleaned.messages if turn["role"] != "system" or turn["content"].strip()]
        done.rows.append({**row, "messages": kept})
        done.places.append(place)


def fingerprints(rows: Sequence[Demonstration], boilerplate: UInt64s, source: str = "") -> dict[str, NDArray[Any]]:
    """Columns for comparing rows, by name.

    Hashes of the whole, of the opening prompt and of the conversation's name (0 without a name) [rows]; signatures and
    bands of the whole and of the prompt [rows, …].
    """
    prompts = [opening(row["messages"]) for row in rows]
    whole, prompt = signatures(texts_of(rows), boilerplate), signatures(list(map(_learned_text, prompts)), boilerplate)
    return {
        "content": _as_uint64([_content_hash(row["messages"]) for row in rows]),
        "prompt": _as_uint64(list(map(conversation_hash, prompts))),
        "conversation": _as_uint64(
            [_conversation_name_hash(source, row["id"]) if row.get("id") else "0" for row in rows]
        ),
        "text_signature": whole,
        "text_bands": bands_of(whole),
        "prompt_signature": prompt,
        "prompt_bands": bands_of(prompt),
    }


def texts_of(rows: Sequence[Demonstration]) -> list[str]:
    """The text of each row without unlearned answers and without the system turn, which is often the same for all."""
    return [_learned_text(row["messages"]) for row in rows]


def _learned_text(messages: Sequence[Message]) -> str:
    return "\n".join(
        turn["content"] for turn in messages if turn["role"] != "system" and turn.get("train") is not False
    )


def _content_hash(messages: Sequence[Message]) -> str:
    """A hash of the learned content: texts, marks and reasoning."""
    beside = [Message(role=str(turn.get("train")), content=turn.get("reasoning_content", "")) for turn in messages]
    return conversation_hash(messages, *([beside] if any(len(turn) > 2 for turn in messages) else []))


def _answer_remarks(messages: Sequence[Message]) -> list[str]:
    """Remarks for the user on the answers."""
    remarks = []
    for turn in messages:
        if turn.get("train") is False:
            remarks.append("an answer is marked as not to be learned: it is used as context")
        if turn.get("reasoning_content"):
            remarks.append("an answer comes with its reasoning (model.thinking sets how it is used)")
    return remarks


def _as_uint64(hashes: Sequence[str]) -> UInt64s:
    return np.array([int(one[:16], 16) for one in hashes], dtype=np.uint64)


def _conversation_name_hash(source: str, identifier: str) -> str:
    """A hash of source and conversation name, since names are unique only within a source: many count from 0."""
    return hashlib.sha256(json.dumps([source, identifier]).encode()).hexdigest()


def _around_difference(before: str, after: str) -> tuple[str, str]:
    """Both texts around the first place where they differ."""
    least = min(len(before), len(after))
    start = max(0, next((place for place in range(least) if before[place] != after[place]), least) - _AROUND)
    return before[start : start + 2 * _AROUND], after[start : start + 2 * _AROUND]
