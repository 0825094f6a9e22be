"""Guesses columns of prompt and answer by their contents, and detects answers that look like labels."""

import re
from collections.abc import Sequence
from statistics import mean, median

from pipeline.data.formats.columns import CONVERSATIONS
from pipeline.data.formats.conversations import ROLE_KEYS, ROLES, Row
from pipeline.data.formats.fields import name_of

_MIN_WORDS = 3  # in the median text of a column; names have fewer
_MIN_DISTINCT = 0.5  # share of distinct texts in a column; constants and labels have fewer
_MIN_QUESTIONS = 0.3  # share of texts with a question mark in a column of questions
_MAX_LABELS, _MAX_LABEL_LENGTH, _MIN_ROWS = 5, 20, 20  # of a column of labels
_URL = re.compile(r"\s*(?:https?://|www\.)\S+\s*\Z")
_SIDES = "(?:response|answer|output|completion|model|option|assistant|candidate|text|side)"
_LABEL = re.compile(
    rf"(?:{_SIDES}[ _-]?)?[a-d]|(?:{_SIDES}[_-]?)?-?\d(?:\.0)?"
    r"|\[\[[a-c]\]\]|accept(?:ed)?|reject(?:ed)?|ignored?|chosen|ties?|both|neither|left|right|win|loss|lose|draw"
    r"|good|bad|(?:thumbs?[ _-]?)?(?:up|down)|(?:un)?desirable|correct|incorrect",
    re.IGNORECASE,
)


def likely_columns(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The columns of prompt and answer, if just two hold texts, one questions and the other longer texts; else None."""
    texts = {key: found for key in dict.fromkeys(key for row in rows for key in row) if (found := _texts(rows, key))}
    if len(texts) != 2:
        return None
    questions = [key for key in texts if mean("?" in text for text in texts[key]) >= _MIN_QUESTIONS]
    if len(questions) != 1:
        return None
    (asked,) = questions
    (answer,) = texts.keys() - questions
    longer = mean(map(len, texts[answer])) >= mean(map(len, texts[asked]))
    return (asked, answer) if longer else None


def labels_among(answers: Sequence[str]) -> list[str]:
    """The distinct values of a column of answers, if they look like labels; else empty.

    They do if all are words that judge an answer, or if many rows share a few short values.
    """
    values = sorted({answer.strip() for answer in answers})
    if not 0 < len(values) <= _MAX_LABELS or any(len(value) > _MAX_LABEL_LENGTH for value in values):
        return []
    judged = len(answers) > max(2, len(values)) and all(map(_LABEL.fullmatch, values))
    return values if judged or len(answers) >= _MIN_ROWS else []


def path_of_turns(rows: Sequence[Row]) -> str | None:
    """The path of conversations inside an object of the rows, such as `body.messages`; None without them."""
    for row in rows[:1]:
        for outer, value in row.items():
            for inner, turns in value.items() if isinstance(value, dict) else ():
                if isinstance(turns, list) and turns and all(map(_is_turn, turns)):
                    answered = ROLES.get(_speaker(turns[-1])) == "assistant"
                    return f"{outer}.{inner}" if answered else None
    return None


def odd_conversation(rows: Sequence[Row]) -> str:
    """The fault of a column that is named like conversations but holds none; empty without such a column."""
    for row in rows[:1]:
        for key, value in row.items():
            if key.lower() in CONVERSATIONS and value:
                first = value[0] if isinstance(value, list) else value
                found = f"a list that starts with {name_of(first)}" if isinstance(value, list) else name_of(value)
                keys = f" with {', '.join(map(str, list(first)[:6]))}" if isinstance(first, dict) else ""
                return (
                    f" `{key}` holds {found}{keys}; a conversation is a list of turns, each with a role and a "
                    'content: [{"role": "user", "content": …}, {"role": "assistant", "content": …}].'
                )
    return ""


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and _speaker(turn) in ROLES


def _speaker(turn: Row) -> str:
    return next((str(turn[key]).strip().lower() for key in ROLE_KEYS if key in turn), "")


def _texts(rows: Sequence[Row], key: str) -> list[str]:
    """The texts of a column, if they have enough words, differ, and are not web addresses."""
    found = [row[key] for row in rows if isinstance(row.get(key), str) and row[key].strip()]
    if 2 * len(found) <= len(rows) or len(set(found)) <= _MIN_DISTINCT * len(found):
        return []
    if median(len(text.split()) for text in found) < _MIN_WORDS or any(map(_URL.match, found)):
        return []
    return found
