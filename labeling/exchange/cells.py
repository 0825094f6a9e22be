"""Reads single cells of CSV, JSON and data frames: texts, ranks, scores, prompts and names. Pure functions.

Empty text, null and NaN are absent values. Functions raise `Unusable` for present values that cannot be read.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from labeling.exchange.reading import Reading, Unusable
from labeling.records import Message

_NO_NUMBER = ("", "na", "n/a", "nan", "null", "none", "-", "–")
NO_NAME = ("na", "n/a", "nan", "null", "none", "anonymous", "unknown")

NUMBERS = "Responses that are a number, true or false, read as text: {}"


def is_absent(value: object) -> bool:
    """Whether a cell is empty: null, NaN, or blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def response_in(value: object, field: str, reading: Reading) -> str | None:
    """A response's text, or None if absent. Numbers become text, which is counted."""
    if is_absent(value):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("content")
    if isinstance(value, bool | int | float):
        reading.tallies[NUMBERS] += 1
        return json.dumps(value)
    if not isinstance(value, str):
        raise Unusable(field, "a response must be text", value)
    return value


def number_in(value: object, field: str) -> float | None:
    """A number, or None if absent."""
    if is_absent(value) or (isinstance(value, str) and value.strip().lower() in _NO_NUMBER):
        return None
    number = number_of(value)
    if number is None:
        raise Unusable(field, "is not a number", value)
    return number


def number_of(value: object) -> float | None:
    """The finite number that a value is, or that a text spells; None for anything else, true and false included."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def rank_in(value: object, field: str) -> int | None:
    """A rank, or None if absent; spreadsheets often write 2.0."""
    try:
        number = number_in(value, field)
    except Unusable:
        number = math.nan
    if number is None:
        return None
    if not (number >= 1 and number.is_integer() and number < 1e9):
        raise Unusable(field, "a rank is a whole number from 1", value)
    return int(number)


def flag_in(value: object, field: str) -> bool:
    """True or false; an empty cell is false."""
    word = str(value).strip().lower()
    if is_absent(value) or word == "false":
        return False
    if word != "true":
        raise Unusable(field, "must be true, false or empty", value)
    return True


def annotator_in(value: object, prefix: str = "") -> str | None:
    """An annotator's name, or None. Plain numbers get `prefix`."""
    name = person_in(value)
    return f"{prefix}{name}" if name is not None and name.isdecimal() else name


def person_in(value: object) -> str | None:
    """A person's name or number as text, also inside an object; None for words such as `anonymous`."""
    if isinstance(value, Mapping):
        keys = ("id", "username", "name", "email")
        value = next((value[key] for key in keys if not is_absent(value.get(key))), None)
    if is_absent(value):
        return None
    if not isinstance(value, str | int | float):
        raise Unusable("annotator", "must be a name or a number", value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = " ".join(str(value).split())
    return None if name.lower() in NO_NAME else name


def prompt_in(value: object, field: str, extra: object = None, system: object = None) -> str | list[Message]:
    """A prompt as text or as turns with role and content.

    `extra` is the context of an instruction, often called `input`: it is joined to the prompt's text, as in the
    pipeline's own reading of rankings. Either may be blank. `system` becomes the first turn.
    """
    for name, text in (("input", extra), ("system", system)):
        if not is_absent(text) and not isinstance(text, str):
            raise Unusable(name, "must be text", text)
    about = "" if is_absent(extra) else str(extra)
    turns = _turns_in(value, field, about)
    if is_absent(system):
        return turns
    asked = [Message(role="user", content=turns)] if isinstance(turns, str) else turns
    return [Message(role="system", content=str(system)), *asked]


def messages_in(value: object, field: str) -> Any:
    """The list of turns in a cell, parsed if it is JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unusable(field, "not valid JSON", value) from None


def opened(cell: object) -> object:
    """The list or object in a cell that holds it as JSON text; any other cell unchanged."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _turns_in(value: object, field: str, about: str) -> str | list[Message]:
    if isinstance(value, str) or (is_absent(value) and about):
        texts = [text for text in (value, about) if isinstance(text, str) and text.strip()]
        if not texts:
            raise Unusable(field, "the prompt is empty")
        return "\n\n".join(texts)
    if not isinstance(value, list) or not value:
        raise Unusable(field, "the prompt must be text, or a list of messages", value)
    if not all(_is_message(turn) for turn in value):
        raise Unusable(field, "each message needs 'role' and 'content', both text", value)
    turns = [Message(role=turn["role"], content=turn["content"]) for turn in value]
    if about.strip():
        turns[-1]["content"] = "\n\n".join(text for text in (turns[-1]["content"], about) if text.strip())
    return turns


def _is_message(turn: object) -> bool:
    return isinstance(turn, Mapping) and all(isinstance(turn.get(key), str) for key in ("role", "content"))
