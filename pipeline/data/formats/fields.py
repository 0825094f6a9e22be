"""Takes text, lists and numbers from a raw row; a fault names the value found instead."""

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pipeline.data.faults import BadRow

HALF_PAIR = "the text holds half of a surrogate pair"  # UTF-8 cannot hold it

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
    """The text of a cell with a prompt or an answer; a number, true or false as in JSON.

    Raises BadRow, also for blank text.
    """
    return text_in(json.dumps(value) if is_plain(value) else value, field, role)


def is_plain(value: object) -> bool:
    """Whether the value is a number, true or false. NaN, pandas' empty cell, is not."""
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def text_in(value: object, field: str, role: str | None = None) -> str:
    """The value, if it is non-blank text that UTF-8 can hold. Raises BadRow."""
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
        raise BadRow(field, role, HALF_PAIR) from None
    return value


def list_in(value: object, field: str) -> list[Any]:
    """The value, if it is a non-empty list. Raises BadRow."""
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
    """The type of a value in words, for JSON types and parquet's other types."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN, as an empty cell is written" if math.isnan(value) else "an infinite number"
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), f"a {type(value).__name__}")
