"""Finds odd texts in a conversation, as phrases that can be counted."""

import re
from collections.abc import Sequence

from pipeline.data.formats.transcripts import is_transcript
from pipeline.data.rows import Message, is_learned

_EMPTY = frozenset(
    (
        *("nan", "null", "none", "nil", "undefined", "n/a", "na", "<na>", "nat", "<noinput>", "-", "--", "?"),
        *("#n/a", "#name?", "#ref!", "#value!", "#div/0!", "[deleted]", "[removed]"),
    )
)
"""Common spellings of an empty or broken cell."""

_LONGEST = max(map(len, _EMPTY))
_MIN_QUESTION = 20  # characters of a question that is not repeated by chance
_NAMES = "Human|User|Assistant|AI|Bot|Chatbot|ChatGPT|GPT"
_BEGINS = re.compile(rf"\s*(?:#+ *|<\|?)?(?:{_NAMES})(?:\|?>)? *:", re.IGNORECASE)
_ENDS = re.compile(rf"\n *(?:#+ *|<\|?)?(?:{_NAMES})(?:\|?>)? *:\s*\Z", re.IGNORECASE)
_MARK = re.compile(r"<[|｜][^\s<>]{1,40}[|｜]>|\[/?INST\]|<(?:start|end)_of_turn>|<eo[hm]>")

_SPEAKER = "begins or ends with the name of a speaker (User:, Assistant:): read unchanged"
_MARKED = "holds marks of a chat template (<|…|>, [INST]): read unchanged"


def odd_texts(messages: Sequence[Message]) -> list[str]:
    """Remarks on the turns of a conversation."""
    found: list[str] = []
    asked = ""
    for turn in messages:
        text = turn["content"]
        if turn["role"] == "system" and _is_empty(text):
            found.append(f"the system text is {text.strip()!r}, as an empty cell may be written: read unchanged")
        if turn["role"] == "user":
            found += [f"a question {what}" for what in (*_oddities(text), *_odd_end(text))]
            asked = text.strip()
        elif is_learned(turn):
            found += [f"an answer {what}" for what in (*_oddities(text), *_odd_answer(text, asked))]
    return found


def _oddities(text: str) -> list[str]:
    named = ":" in text and (_BEGINS.match(text) or _ENDS.search(text[-40:]))
    marked = ("<" in text or "[" in text) and _MARK.search(text)
    return [*([_SPEAKER] if named else []), *([_MARKED] if marked else [])]


def _is_empty(text: str) -> bool:
    return len(text) <= 2 * _LONGEST and text.strip().lower() in _EMPTY


def _odd_end(text: str) -> list[str]:
    """A remark on a question that ends with a joined cell that may be empty."""
    _, joint, last = text.rpartition("\n\n")
    return [f"ends with {last!r}, as an empty cell may be written: read unchanged"] * bool(joint and _is_empty(last))


def _odd_answer(text: str, asked: str) -> list[str]:
    found = []
    if _is_empty(text):
        found.append(f"is {text.strip()!r}, as an empty cell may be written: learned unchanged")
    if len(asked) >= _MIN_QUESTION and text.lstrip().startswith(asked):
        found.append("begins with its question, word for word: both are learned")
    if is_transcript(text):
        found.append("is a transcript of several speakers: learned as one answer")
    return found
