"""The columns of a prompt and its answer, under common names."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from labeling.exchange.columns import CONTEXT_NAMES, PROMPT_NAMES
from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import (
    ROLE_KEYS,
    Row,
    all_tools_in,
    check_row,
    in_order,
    joined,
    opened,
    system_in,
    text_or_turns,
    turns_in,
)
from pipeline.data.formats.fields import list_in, text_in
from pipeline.data.formats.transcripts import prompt_turns
from pipeline.data.formats.watching import note, peek
from pipeline.data.rows import Message

ANSWER_KEYS = ("completion", "response", "answer", "answers", "output", "chosen")
HISTORIES = ("history", "chat_history", "chathistory", "conversation_history", "previous_messages")
CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat", "chat_messages")


def with_columns(row: Row, columns: Mapping[str, str]) -> Row:
    """The row with its columns renamed: `columns` maps our names to the file's, in which dots lead into objects.

    An existing column under our name is dropped. If prompt, answer or conversation are mapped, other columns that could
    be meant get a name that is never read. Raises BadRow if a mapped column does not exist.
    """
    named = {ours: _value_at(row, theirs) for ours, theirs in columns.items()}
    rest = {key: value for key, value in row.items() if key not in columns.values() and key not in columns}
    rivals = _rivals(frozenset(columns))
    return {**{f"{key} (set aside)" if key.lower() in rivals else key: rest[key] for key in rest}, **named}


def named(row: Row, names: Collection[str]) -> list[str]:
    """The row's keys that match one of the lower-case names in any case; of several, the non-blank ones."""
    found = [key for key, name in zip(row, map(str.lower, row), strict=True) if name in names]
    return found if len(found) < 2 else [key for key in found if not is_blank(peek(row, key))] or found[:1]


def only(row: Row, names: Sequence[str]) -> str | None:
    """The one key among the names, or None. Raises BadRow if several of them are not blank."""
    found = named(row, names)
    if len(found) > 1:
        raise BadRow(" or ".join(found), None, "several columns could be meant: keep one of them")
    return found[0] if found else None


def is_blank(value: object) -> bool:
    """Whether a cell is None or only whitespace."""
    return value is None or (isinstance(value, str) and not value.strip())


def asked_in(row: Row) -> list[str]:
    """The keys that may hold the prompt; `input` only without another."""
    return named(row, PROMPT_NAMES) or named(row, ("input",))


def prompt_column(row: Row) -> str | None:
    """The key of the prompt, or None. Raises BadRow if several columns may be meant."""
    return only(row, PROMPT_NAMES) or only(row, ("input",))


def asked_turns(row: Row, key: str) -> list[Message]:
    """The prompt in a column, as text or as messages, joined with the context column. Raises BadRow."""
    about = only(row, [name for name in CONTEXT_NAMES if name != key.lower()])
    note(row, "prompt", key, *([about] if about else []))
    return turns_about(row.get(key), key, row[about] if about else None, about or "input")


def history_in(row: Row) -> list[Message]:
    """The turns before the prompt, from pairs of question and answer or from turns; empty without such a column.

    Raises BadRow.
    """
    key = only(row, HISTORIES)
    if key is None or not isinstance(peek(row, key), list) or not row[key]:
        return []
    note(row, "prompt", key)
    past = list_in(row[key], key)
    if all(isinstance(one, dict) for one in past):
        return turns_in(past, key)
    return [turn for index, pair in enumerate(past) for turn in _past(pair, f"{key}[{index}]")]


def _past(pair: object, field: str) -> list[Message]:
    texts = list_in(pair, field)
    if len(texts) != 2:
        raise BadRow(field, None, "a question and its answer are expected")
    question, answer = text_in(texts[0], f"{field}[0]", "user"), text_in(texts[1], f"{field}[1]", "assistant")
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


def turns_about(asked: object, field: str, about: object, about_field: str = "input") -> list[Message]:
    """A prompt as text, as a transcript or as messages; the context is joined to its last turn. Raises BadRow."""
    if isinstance(asked, str) and is_blank(about) and (turns := prompt_turns(asked, field)):
        return turns
    if isinstance(asked, dict):
        asked = within(asked, ("messages", *PROMPT_NAMES, "input", "text", "content"), field)
    if not isinstance(asked, list):
        return [Message(role="user", content=joined(asked, about, field, about_field))]
    *before, last = turns_in(asked, field)
    text = joined(last["content"], about, field, about_field)
    return [*before, Message(role=last["role"], content=text)]


def within(value: dict[str, Any], keys: Sequence[str], field: str) -> object:
    """The content of an object that stands for a prompt or an answer: a message, or the value under one of the keys.

    Raises BadRow if it has neither, or values under several of the keys.
    """
    if not value.keys().isdisjoint(ROLE_KEYS):
        return [value]
    found = [key for key in keys if not is_blank(value.get(key))]
    if len(found) != 1:
        several = f"an object with {' and '.join(found)}: keep one of them" if found else "an object with neither"
        raise BadRow(field, None, f"text or messages are expected, found {several}")
    return value[found[0]]


def prompt_in(row: Row, turns: Sequence[Message], field: str) -> list[Message]:
    """The turns as a prompt, preceded by the row's system text and tools. Raises BadRow."""
    check_row(row)
    return opened(in_order(turns, field, last="user"), system_in(row), all_tools_in(row))


def answer_turn(row: Row, key: str) -> Message:
    """The answer as a turn, with its reasoning if it is a message that has one. Raises BadRow."""
    note(row, "answer", key)
    turns = text_or_turns(row.get(key), key, "assistant")
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise BadRow(key, None, "one turn of the assistant is expected")
    return turns[0]


@cache
def _rivals(mapped: frozenset[str]) -> frozenset[str]:
    """Names of columns that could be meant instead of those that were mapped."""
    rivals = [*(PROMPT_NAMES if "prompt" in mapped else ()), *(ANSWER_KEYS if "completion" in mapped else ())]
    if mapped >= {"prompt", "completion"}:
        rivals += [*CONVERSATIONS, "text"]
    if not mapped.isdisjoint(CONVERSATIONS):
        rivals += [*PROMPT_NAMES, *ANSWER_KEYS, *CONVERSATIONS, "text"]
    return frozenset(rivals)


def _value_at(row: Row, path: str) -> Any:
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            raise BadRow(path, None, "the column does not exist")
        value = value[key]
    return value
