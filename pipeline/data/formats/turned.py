"""Transposes rows: out of a viewer's frame, lists per key into turns, numbered turns into lists.

`datasets` turns lists of objects into objects of lists; its viewer's service puts each row into a frame.
"""

import json
from typing import Any

from pipeline.data.formats.columns import CONVERSATIONS
from pipeline.data.formats.conversations import ROLE_KEYS, ROLES, Row
from pipeline.data.reading.jsontext import parse_json

_FRAME = {"row", "row_idx", "truncated_cells"}
_EXCHANGES = (("input", "output"), ("question", "answer"), ("q", "a"), ("prompt", "response"))
_SPEAKS = {*ROLE_KEYS, *ROLES}


def as_rows_are(row: Row) -> Row:
    """The row without its frame and with conversations as lists of turns; the same row if nothing changes."""
    inner = row.get("row")
    if isinstance(inner, dict) and row.keys() <= _FRAME:
        return as_rows_are(inner)
    found = {
        key: turns
        for key, value in row.items()
        if isinstance(value, dict | list) and key.lower() in CONVERSATIONS and (turns := _turns(value)) is not None
    }
    return {**row, **found} if found else row


def _turns(value: dict[str, Any] | list[Any]) -> list[Any] | None:
    """The turns as a list, or None if the value is already one or of no known shape."""
    if isinstance(value, list):
        return (_parsed(value) if all(isinstance(one, str) for one in value) else _exchanges(value)) if value else None
    inner = list(value.values())
    if all(isinstance(one, list) for one in inner) and not _SPEAKS.isdisjoint(map(str.lower, value)):
        same = len({len(one) for one in inner}) == 1
        return [dict(zip(value, turn, strict=True)) for turn in zip(*inner, strict=True)] if same else None
    if value and all(key.isdecimal() and isinstance(turn, dict) for key, turn in value.items()):
        return [value[key] for key in sorted(value, key=int)]
    return None


def _exchanges(turns: list[Any]) -> list[Any] | None:
    """Exchanges as `input` and `output` (XTuner), or as `question` and `answer`, keyed by role."""
    for asked, answered in _EXCHANGES:
        if all(isinstance(one, dict) and one.keys() >= {asked, answered} for one in turns):
            names = {asked: "user", answered: "assistant", "output_with_loss": "train"}
            return [{names.get(key, key): value for key, value in one.items()} for one in turns]
    return None


def _parsed(texts: list[str]) -> list[Any] | None:
    """The turns, if each is written as JSON text; else None."""
    if not all(text.lstrip().startswith("{") for text in texts):
        return None
    try:
        turns = [parse_json(text) for text in texts]
    except json.JSONDecodeError:
        return None
    return turns if all(isinstance(turn, dict) and not _SPEAKS.isdisjoint(turn) for turn in turns) else None
