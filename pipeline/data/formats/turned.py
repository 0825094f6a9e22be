"""Rows and turns that stand the other way round: in a viewer's frame, a list for each key, a number for each turn.

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
    """The row out of its frame, with its conversations as lists of turns; the same row if nothing stands otherwise."""
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
    """The turns, or None if the value is a list of turns already, or nothing of these kinds."""
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
    """Exchanges written as `input` and `output` (XTuner's), or as `question` and `answer`, with their speakers."""
    for asked, answered in _EXCHANGES:
        if all(isinstance(one, dict) and one.keys() >= {asked, answered} for one in turns):
            names = {asked: "user", answered: "assistant", "output_with_loss": "train"}
            return [{names.get(key, key): said for key, said in one.items()} for one in turns]
    return None


def _parsed(texts: list[str]) -> list[Any] | None:
    """Turns each of which is written as JSON text."""
    if not all(text.lstrip().startswith("{") for text in texts):
        return None
    try:
        turns = [parse_json(text) for text in texts]
    except json.JSONDecodeError:
        return None
    return turns if all(isinstance(turn, dict) and not _SPEAKS.isdisjoint(turn) for turn in turns) else None
