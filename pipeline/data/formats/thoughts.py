"""Reads the reasoning before an answer and attaches it to the answer."""

from collections.abc import Mapping
from typing import Any

from pipeline.data.faults import BadRow
from pipeline.data.formats.contents import TurnParts
from pipeline.data.formats.fields import any_text_in
from pipeline.data.rows import Message

REASONING = (
    *("reasoning_content", "reasoning", "thinking", "reasoning_text", "thinking_content", "chain_of_thought"),
    *("thought", "thoughts", "cot", "complex_cot"),
)
"""Keys of a turn, or columns beside an answer, that hold the reasoning before the answer."""


def thoughts_in(turn: Mapping[str, Any], parts: TurnParts, field: str, written: str) -> str:
    """The reasoning before an answer, from parts of the turn or from a key of its own. Raises BadRow if they differ."""
    given = {key: turn[key].strip() for key in REASONING if isinstance(turn.get(key), str)}
    found = dict.fromkeys(text for text in ("\n\n".join(parts.thoughts).strip(), *given.values()) if text)
    if len(found) > 1:
        raise BadRow(f"{field}.{' or '.join(given)}", written, "several texts could be the reasoning: keep one of them")
    return any_text_in(next(iter(found), ""), field, written)


def in_channel(parts: TurnParts, channel: str, field: str, written: str) -> TurnParts:
    """The parts of a turn in one of gpt-oss's channels: `analysis` is reasoning. Raises BadRow for unknown channels."""
    if channel == "analysis":
        return TurnParts(thoughts=[*parts.thoughts, *parts.texts], calls=parts.calls)
    if channel not in ("final", "commentary"):
        raise BadRow(field, written, "unknown channel; use analysis, commentary or final")
    return parts


def only_thinks(turn: Message) -> bool:
    """Whether an assistant turn has reasoning and no text."""
    return turn["role"] == "assistant" and not turn["content"] and "reasoning_content" in turn


def joined_answers(first: Message, second: Message) -> Message:
    """Two consecutive messages of the assistant as one, with reasoning and texts joined."""
    texts = [text for text in (first["content"], second["content"]) if text.strip()]
    thoughts = [text for turn in (first, second) if (text := turn.get("reasoning_content", "").strip())]
    both = Message(role="assistant", content="\n\n".join(texts))
    if thoughts:
        both["reasoning_content"] = "\n\n".join(thoughts)
    if second.get("train") is False:
        both["train"] = False
    return both
