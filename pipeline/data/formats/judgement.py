"""The judgements that formats make of a row: votes, single marked answers, ready-made pairs; and shared columns."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.exchange.cells import number_of, person_in
from labeling.exchange.columns import IDS, TIMES, annotator_columns, first_of
from labeling.votes import Vote
from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import is_blank
from pipeline.data.formats.conversations import Row, turns_in
from pipeline.data.formats.fields import any_text_in, name_of
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message


@dataclass(frozen=True, slots=True)
class Marked:
    """A single marked answer; a higher score is better."""

    prompt: list[Message]
    response: str
    score: float
    annotator: str | None = None
    when: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers of one or more turns to one prompt, the better one first; margin 0 if they are equally good."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: float | None = None  # None if the row has none: one vote
    group: str | None = None
    annotator: str | None = None
    id: str | None = None
    when: str = ""


Judgement = Vote | Marked | Pair


class WrittenNumber(str):
    """A text that was a JSON number, true or false in its file, to be counted."""


def response_in(value: object, field: str) -> str:
    """An answer's text, which may be empty, from text, a number or boolean, or one message of the assistant.

    Raises BadRow.
    """
    if isinstance(value, dict) and "role" in value:
        value = [value]
    if isinstance(value, list):
        turns = turns_in(value, field)
        if [turn["role"] for turn in turns] != ["assistant"]:
            raise BadRow(field, None, "one turn of the assistant is expected")
        return turns[0]["content"]
    if isinstance(value, bool | int | float) and value == value:
        return WrittenNumber(json.dumps(value))
    return any_text_in(value, field, "assistant")


def is_absent(value: object) -> bool:
    """Whether an answer is absent: null, or NaN from a data frame. Empty text is an answer."""
    return value is None or value != value


def annotator_in(row: Row, beside: Collection[str] = ()) -> str | None:
    """The annotator's name, from the first non-blank annotator column not in `beside`; None if unnamed.

    `anonymous` and similar words count as unnamed.
    """
    columns = [key for key in annotator_columns(row) if key not in beside and _is_person(row[key])]
    if not columns:
        return None
    note(row, "annotator", columns[0])
    name = person_in(row[columns[0]])
    return None if name is None else any_text_in(name, "name")


def id_in(row: Row, *more: str) -> str | None:
    """The row's id, or None."""
    column = first_of((key for key in row if _is_name(row[key])), (*IDS, *more))
    return None if column is None else _as_text(row[column])


def group_in(row: Row) -> str | None:
    """The row's `group`, or None."""
    return _as_text(row["group"]) if _is_name(row.get("group")) else None


def when_in(row: Row) -> str:
    """The time of the judgement as written, or an empty text."""
    column = first_of((key for key in row if _is_name(row[key])), TIMES)
    return "" if column is None else _as_text(row[column])


def vote_of(
    row: Row,
    prompt: str | list[Message],
    responses: Sequence[str],
    ranks: Sequence[int | None] | None,
    annotator: str | None = None,
    id: str | None = None,
) -> Vote:
    """A vote without a place."""
    return Vote(None, prompt, responses, ranks, annotator, id or id_in(row), when_in(row))


def number_in(value: object, field: str) -> float | None:
    """A number, also as text, or None if absent. Raises BadRow."""
    if is_blank(value) or value != value:
        return None
    number = number_of(value)
    if number is None:
        raise BadRow(field, None, f"a number is expected, found {name_of(value)}")
    return number


def _is_person(value: object) -> bool:
    return isinstance(value, dict) or _is_name(value)


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and value == value
        and bool(str(value).strip())
    )


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return any_text_in(str(value).strip(), "name")
