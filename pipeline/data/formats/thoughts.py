"""The reasoning before an answer: where it is written, and how it comes to the answer that it leads to."""

from collections.abc import Mapping
from typing import Any

from pipeline.data.faults import BadRow
from pipeline.data.formats.contents import Said
from pipeline.data.formats.fields import any_text_in
from pipeline.data.rows import Message

REASONING = (
    *("reasoning_content", "reasoning", "thinking", "reasoning_text", "thinking_content", "chain_of_thought"),
    *("thought", "thoughts", "cot", "complex_cot"),
)
"""Keys of a turn, or columns beside an answer, that hold the reasoning before the answer."""


def thoughts_in(turn: Mapping[str, Any], said: Said, field: str, written: str) -> str:
    """The reasoning before an answer, from parts of the turn or from a key of its own. Raises BadRow if they differ."""
    given = {key: turn[key].strip() for key in REASONING if isinstance(turn.get(key), str)}
    found = dict.fromkeys(text for text in ("\n\n".join(said.thoughts).strip(), *given.values()) if text)
    if len(found) > 1:
        raise BadRow(f"{field}.{' or '.join(given)}", written, "several texts could be the reasoning: keep one of them")
    return any_text_in(next(iter(found), ""), field, written)


def in_channel(said: Said, channel: str, field: str, written: str) -> Said:
    """What is said in a channel of gpt-oss's: in `analysis` it is reasoning. Raises BadRow for unknown channels."""
    if channel == "analysis":
        return Said(thoughts=[*said.thoughts, *said.texts], calls=said.calls)
    if channel not in ("final", "commentary"):
        raise BadRow(field, written, "unknown channel; use analysis, commentary or final")
    return said


def only_thinks(turn: Message) -> bool:
    """Whether the assistant has said nothing yet."""
    return turn["role"] == "assistant" and not turn["content"] and "reasoning_content" in turn


def joined_answers(first: Message, second: Message) -> Message:
    """Two messages of the assistant's that follow each other, as one: thoughts, and what they lead to."""
    texts = [text for text in (first["content"], second["content"]) if text.strip()]
    thoughts = [text for turn in (first, second) if (text := turn.get("reasoning_content", "").strip())]
    both = Message(role="assistant", content="\n\n".join(texts))
    if thoughts:
        both["reasoning_content"] = "\n\n".join(thoughts)
    if second.get("train") is False:
        both["train"] = False
    return both
