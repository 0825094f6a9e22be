"""Parses lists printed as text, by JSON, Python or numpy, so that they are never learned as text."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator

from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import HISTORIES
from pipeline.data.formats.conversations import ROLES, Row
from pipeline.data.formats.flags import is_loss_mask
from pipeline.data.reading.jsontext import parse_json

_LISTS = frozenset(
    (
        *("messages", "conversations", "conversation", "contents", *HISTORIES, "tools", "functions"),
        *("responses", "rankings", "completions", "generations", "candidates", "options", "accept"),
        *("answers", "contexts", "ranks", "scores", "ratings", "mapping", "replies"),
    )
)
"""Columns of lists: every printed list or object in their cells is parsed."""

_SPEAKER, _SPOKEN = ("role", "from"), ("content", "value", "parts", "text", "tool_calls", "function_call")
_KEYS = "|".join((*_SPEAKER, *_SPOKEN, "messages", "language", "name", "id"))
_BEGINS = re.compile(rf"\s*(?:array\()?\s*\[?\s*\{{\s*['\"](?:{_KEYS})['\"]\s*:")
_ROLE = re.compile(rf"['\"](?:{'|'.join(_SPEAKER)})['\"]\s*:\s*['\"](?:{'|'.join(ROLES)})['\"]", re.IGNORECASE)

_NAMES = {"array": "", "nan": "None", "null": "None", "true": "True", "false": "False"}
_VALUES = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
_LAYOUT = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_DTYPE = (",", "dtype", "=")


def unprinted(row: Row) -> Row:
    """The row with printed lists and objects parsed; the same row if there are none.

    In columns of lists, such as `messages`, every list or object is parsed; in other columns only turns of a
    conversation. Raises BadRow if printed turns cannot be parsed, for example because they are cut off.
    """
    found = {key: value for key, cell in row.items() if (value := _read_back(key, cell)) is not None}
    return {**row, **found} if found else row


def _read_back(key: str, cell: object) -> list[object] | dict[str, object] | None:
    """The printed value of a cell, or None."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{", "a"):
        return None
    holds_lists = key.lower() in _LISTS or is_loss_mask(key)
    if not holds_lists and not _BEGINS.match(cell):
        return None
    value = _parsed(cell)
    if isinstance(value, list | dict) and (holds_lists or _are_turns(value)):
        return value
    if value is None and _BEGINS.match(cell) and _ROLE.search(cell):
        raise BadRow(key, None, "turns printed as text cannot be parsed: are they cut off?")
    return None


def _are_turns(value: object) -> bool:
    """Whether the value is a turn, a list of turns, or an object with such a list in `messages`."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return _are_turns(value["messages"])
    turns = value if isinstance(value, list) else [value]
    return bool(turns) and all(isinstance(turn, dict) and _is_turn(turn) for turn in turns)


def _is_turn(turn: dict[str, object]) -> bool:
    speakers = [turn[key] for key in _SPEAKER if key in turn]
    known = any(isinstance(speaker, str) and speaker.strip().lower() in ROLES for speaker in speakers)
    return known and not turn.keys().isdisjoint(_SPOKEN)


def _parsed(text: str) -> object:
    """The text parsed as JSON, or else as Python or numpy print it; None if it is neither."""
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        pass
    try:
        value: object = ast.literal_eval(" ".join(_as_python(text)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        return None
    return value


def _as_python(text: str) -> Iterator[str]:
    """The tokens of a literal, with commas added: numpy prints none, and Python would join adjacent texts."""
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(text.strip()).readline) if one.type not in _LAYOUT]
    ended, position = False, 0
    while position < len(tokens):
        if tuple(one.string for one in tokens[position : position + 3]) == _DTYPE:
            position += 4
            continue
        token = tokens[position]
        begins = token.type in _VALUES or token.string in ("[", "{", "(")
        if ended and begins:
            yield ","
        yield _NAMES.get(token.string, token.string) if token.type == tokenize.NAME else token.string
        ended = (token.type in _VALUES and token.string != "array") or token.string in ("]", "}", ")")
        position += 1
