"""Conversations written as one text, in which each turn begins with its speaker (Anthropic's HH)."""

import re
from itertools import chain

from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import Row, Turns, turns_in, turns_of_row
from pipeline.data.formats.fields import text_in
from pipeline.data.rows import Message

_ASKERS = ("Human", "User")
_AFTER_BLANK_LINE = [re.compile(rf"(?:\A|\n\r?\n)({asker}|Assistant):") for asker in _ASKERS]
_AFTER_NEWLINE = [re.compile(rf"(?:\A|\n)({asker}|Assistant):") for asker in _ASKERS]


def hh(row: Row) -> list[Turns]:
    """A transcript in the `text` column, or else the `chosen` one of a pair."""
    field = "text" if is_transcript(row.get("text")) else "chosen"
    return [turns_of_row(row, field, transcript(row.get(field), field))]


def has_transcript(row: Row) -> bool:
    return is_transcript(row.get("text")) or is_transcript(row.get("chosen"))


def has_two_transcripts(row: Row) -> bool:
    return is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))


def is_transcript(value: object) -> bool:
    """Whether the value is text in which a human (or user) and an assistant speak in turn."""
    return isinstance(value, str) and _speakers(value) is not None


def transcript(value: object, field: str) -> list[Message]:
    """The turns of `Human: ...`, `Assistant: ...`, with a blank line before each. Raises BadRow.

    `User:` is a human too, and a newline will do where the whole text is built so: within a text of blank lines, a
    quoted dialogue is no new turn.
    """
    text = text_in(value, field)
    before, *parts = (_speakers(text) or _AFTER_BLANK_LINE[0]).split(text)
    if before.strip():
        raise BadRow(field, None, "there is text before the first 'Human:'")
    spoken = zip(parts[::2], parts[1::2], strict=True)
    return turns_in([{"role": role, "content": text.strip()} for role, text in spoken], field)


def _speakers(text: str) -> re.Pattern[str] | None:
    """What cuts the text into turns, if it is built of turns of two speakers."""
    built = (pattern for pattern in _AFTER_BLANK_LINE if len(set(pattern.findall(text))) == 2)
    start = text.lstrip()
    tight = (one for one in _AFTER_NEWLINE if one.match(start) and len(set(one.findall(text))) == 2)
    return next(chain(built, tight), None)
