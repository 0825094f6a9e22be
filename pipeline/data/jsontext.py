"""JSON text that anybody may have written: whatever is wrong with it raises JSONDecodeError."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

_SPACE = re.compile(r"[ \t\r\n]*")

Item = tuple[int | str, int, object]
"""Index or key, line, value."""


def parse_json(text: str) -> object:
    """One JSON value. Raises JSONDecodeError."""
    with _every_fault_is_a_decode_error(text):
        value: object = json.loads(text)
    return value


def scan_document(text: str) -> list[Item]:
    """The items of one JSON array or object, each with the line it is on.

    Of an object with two equal keys both items are returned. Raises JSONDecodeError for any other value.
    """
    start = _skip_space(text, 0)
    if text[start : start + 1] not in ("[", "{"):
        raise json.JSONDecodeError("Expecting an array or an object", text, start)
    with _every_fault_is_a_decode_error(text):
        items = _scan_items(text, start)
    return items


def _scan_items(text: str, start: int) -> list[Item]:
    decoder = json.JSONDecoder()
    keyed = text[start] == "{"
    closing = "}" if keyed else "]"
    items: list[Item] = []
    line, counted = 1, 0
    position = _skip_space(text, start + 1)
    finished = text[position : position + 1] == closing
    while not finished:
        line, counted = line + text.count("\n", counted, position), position
        key: int | str = len(items)
        if keyed:
            key, position = _scan_key(decoder, text, position)
        value, position = decoder.raw_decode(text, position)
        items.append((key, line, value))
        position = _skip_space(text, position)
        finished = text[position : position + 1] == closing
        if not finished:
            position = _expect(",", text, position)
    _expect_end(text, _skip_space(text, position + 1))
    return items


def _scan_key(decoder: json.JSONDecoder, text: str, position: int) -> tuple[str, int]:
    key, end = decoder.raw_decode(text, position)
    if not isinstance(key, str):
        raise json.JSONDecodeError("Expecting a key in double quotes", text, position)
    return key, _expect(":", text, _skip_space(text, end))


def _expect(character: str, text: str, position: int) -> int:
    """Where the text goes on after the character and the space behind it."""
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r} delimiter", text, position)
    return _skip_space(text, position + 1)


def _expect_end(text: str, position: int) -> None:
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


@contextmanager
def _every_fault_is_a_decode_error(text: str) -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", text, 0) from None
    except ValueError:  # an integer of more digits than Python converts
        raise json.JSONDecodeError("Number too long", text, 0) from None
