"""Parses JSON text of unknown origin: every fault raises JSONDecodeError."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Item(NamedTuple):
    """One value of a longer text: its index or key, its line, and its start (or its key's) and end in the text."""

    key: int | str | None
    line: int
    value: object
    start: int
    end: int


def parse_json(text: str) -> object:
    """One JSON value. Raises JSONDecodeError."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _decode_error(text, error) from None
    return value


def scan_document(text: str) -> list[Item]:
    """The items of one JSON array or object, each with the line it is on.

    Equal keys of an object give an item each. Raises JSONDecodeError for any other value.
    """
    start = _skip_space(text, 0)
    if text[start : start + 1] not in ("[", "{"):
        raise json.JSONDecodeError("Expecting an array or an object", text, start)
    try:
        return list(_document_items(text, start))
    except (ValueError, RecursionError) as error:
        raise _decode_error(text, error) from None


def scan_objects(text: str) -> list[Item]:
    """The consecutive objects of a text, separated by space alone, each with its line.

    Raises JSONDecodeError for anything else, and if there is no object.
    """
    try:
        return list(_objects(text))
    except (ValueError, RecursionError) as error:
        raise _decode_error(text, error) from None


def _document_items(text: str, start: int) -> Iterator[Item]:
    keyed = text[start] == "{"
    closing = "}" if keyed else "]"
    line, counted, index = 1, 0, 0
    position = _skip_space(text, start + 1)
    finished = text[position : position + 1] == closing
    while not finished:
        line, counted = line + text.count("\n", counted, position), position
        key: int | str = index
        if keyed:
            key, position = _scan_key(text, position)
        value, position = _DECODER.raw_decode(text, position)
        yield Item(key, line, value, counted, position)
        index += 1
        position = _skip_space(text, position)
        finished = text[position : position + 1] == closing
        if not finished:
            position = _expect(",", text, position)
    _expect_end(text, _skip_space(text, position + 1))


def _objects(text: str) -> Iterator[Item]:
    line, counted, index = 1, 0, 0
    position = _skip_space(text, 0)
    while index == 0 or position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        if text[position : position + 1] != "{":
            raise json.JSONDecodeError("Expecting an object", text, position)
        value, position = _DECODER.raw_decode(text, position)
        yield Item(index, line, value, counted, position)
        index += 1
        position = _skip_space(text, position)


def _scan_key(text: str, position: int) -> tuple[str, int]:
    key, end = _DECODER.raw_decode(text, position)
    if not isinstance(key, str):
        raise json.JSONDecodeError("Expecting a key in double quotes", text, position)
    return key, _expect(":", text, _skip_space(text, end))


def _expect(character: str, text: str, position: int) -> int:
    """The position after the character and the space behind it."""
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r} delimiter", text, position)
    return _skip_space(text, position + 1)


def _expect_end(text: str, position: int) -> None:
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _decode_error(text: str, error: ValueError | RecursionError) -> json.JSONDecodeError:
    if isinstance(error, json.JSONDecodeError):
        return error
    if isinstance(error, RecursionError):
        return json.JSONDecodeError("Nested too deeply", text, 0)
    return json.JSONDecodeError("Number too long", text, 0)  # an integer of more digits than Python converts
