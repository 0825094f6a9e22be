"""The rows that stages exchange: their types, their hashes, and reading and writing their files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from labeling.records import Message, Ranking, Ranks
from pipeline.data.reading.jsontext import parse_json
from pipeline.data.reading.textfiles import text_lines
from pipeline.data.writing import write_lines
from pipeline.errors import RequestError

__all__ = [
    "Demonstration",
    "MarkedAnswer",
    "Message",
    "Origin",
    "Preference",
    "Prompt",
    "Ranking",
    "Ranks",
    "as_messages",
    "conversation_hash",
    "is_learned",
    "jsonl_rows",
    "opening",
    "prompt_id",
    "read_jsonl",
    "without_marks",
    "write_jsonl",
]


class Origin(TypedDict, total=False):
    """The origin of a conversation, if known: id, author of the answers, annotator who corrected them, source."""

    id: str
    writer: str
    corrected_by: str
    source: str


class Demonstration(Origin):
    """A conversation to learn from; the last turn is the assistant's."""

    messages: list[Message]


class Prompt(TypedDict):
    """A conversation without its answer; the last turn is the user's."""

    prompt: list[Message]


class Preference(TypedDict):
    """Two answers to one prompt.

    `margin` is (votes for - votes against) / votes; rows of one `group` are not independent. `label_noise` is the
    probability that the rejected answer is the better one; rows that come from votes have it.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: float
    group: str
    label_noise: NotRequired[float]


class MarkedAnswer(TypedDict):
    """An answer that people marked as good or bad, beside no other; `answer` is one turn of the assistant's."""

    prompt: list[Message]
    answer: list[Message]
    good: bool


def as_messages(prompt: str | list[Message]) -> list[Message]:
    """A ranking's prompt as messages; text becomes one user turn."""
    return [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt


def is_learned(turn: Message) -> bool:
    """Whether the turn is an answer to learn from."""
    return turn["role"] == "assistant" and turn.get("train") is not False


def without_marks(messages: Sequence[Message]) -> list[Message]:
    """The messages with role and content only: prompts carry no marks and no reasoning."""
    return [Message(role=turn["role"], content=turn["content"]) for turn in messages]


def opening(messages: Sequence[Message]) -> Sequence[Message]:
    """The turns before the first answer. Conversations with equal openings share a prompt."""
    return messages[: [turn["role"] for turn in messages].index("assistant")]


def conversation_hash(*conversations: Sequence[Message]) -> str:
    """A hash of roles and texts; differences in whitespace do not change it."""
    plain = [[[turn["role"], " ".join(turn["content"].split())] for turn in turns] for turns in conversations]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def prompt_id(messages: Sequence[Message]) -> str:
    """A short name for a prompt, the same on every machine and in every run."""
    return conversation_hash(messages)[:16]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object per line in UTF-8, atomically. Raises PipelineError if writing fails."""
    write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file written by `write_jsonl`, one at a time. For users' files see `pipeline.data.reading.files`.

    Raises RequestError with file and line at a line that is not an object.
    """
    return (_object(path, number, text) for number, text in text_lines(path))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of `jsonl_rows`, for files of few rows."""
    return list(jsonl_rows(path))


def _object(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{path}, line {number}, column {error.colno}: not valid JSON ({error.msg}). "
            "The file was cut off or edited: create it again."
        ) from None
    if not isinstance(value, dict):
        raise RequestError(f"{path}, line {number}: not a JSON object. Write one row per line, as {{...}}.")
    return value
