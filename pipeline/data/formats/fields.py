"""Take text, lists and numbers out of a raw row, or say what is there instead."""

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pipeline.data.faults import BadRow

_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    bytes: "binary data",
    datetime: "a time",
    date: "a date",
}


def spoken_in(value: object, field: str, role: str | None = None) -> str:
    """What a cell with a prompt or an answer says: its text; a number, true or false as JSON writes them.

    Raises BadRow, also for text that says nothing.
    """
    return text_in(json.dumps(value) if is_plain(value) else value, field, role)


def is_plain(value: object) -> bool:
    """Whether the value is a number, true or false; NaN, by which pandas writes that nothing is there, is none."""
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def text_in(value: object, field: str, role: str | None = None) -> str:
    """The value, if it is text that says something and that UTF-8 can hold. Raises BadRow."""
    text = any_text_in(value, field, role)
    if not text.strip():
        raise BadRow(field, role, "the text is empty")
    return text


def any_text_in(value: object, field: str, role: str | None = None) -> str:
    """The value, if it is text that UTF-8 can hold; it may be empty. Raises BadRow."""
    if not isinstance(value, str):
        raise BadRow(field, role, f"text is expected, found {name_of(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(field, role, "the text holds half of a surrogate pair") from None
    return value


def list_in(value: object, field: str) -> list[Any]:
    """The value, if it is a list with something in it. Raises BadRow."""
    if not isinstance(value, list):
        raise BadRow(field, None, f"a list is expected, found {name_of(value)}")
    if not value:
        raise BadRow(field, None, "the list is empty")
    return value


def object_in(value: object, field: str) -> dict[str, Any]:
    """The value, if it is an object. Raises BadRow."""
    if not isinstance(value, dict):
        raise BadRow(field, None, f"an object is expected, found {name_of(value)}")
    return value


def name_of(value: object) -> str:
    """What a value is, in words: of JSON, or of a parquet file's other types."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN, as an empty cell is written" if math.isnan(value) else "an infinite number"
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), f"a {type(value).__name__}")
