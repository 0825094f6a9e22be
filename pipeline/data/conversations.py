"""Turns as users write them, made into messages: who speaks, what is said, and in which order."""

from collections.abc import Sequence
from typing import Any, Literal

from pipeline.data.faults import BadRow
from pipeline.data.fields import any_text_in, list_in, object_in, text_in
from pipeline.data.rows import Message

Speaker = Literal["user", "assistant"]

ROLES = {
    "system": "system",
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "ai"), "assistant"),
}


def system_turn(row: dict[str, Any]) -> list[Message]:
    """The row's `system` column as the first turn; none if it is absent or blank. Raises BadRow."""
    value = row.get("system")
    text = "" if value is None else any_text_in(value, "system", "system")
    return [Message(role="system", content=text)] if text.strip() else []


def joined(instruction: object, extra: object, field: str) -> str:
    """An instruction and the text it is about, of which one may be blank. Raises BadRow if both are."""
    texts = [
        any_text_in(instruction, field, "user"),
        "" if extra is None else any_text_in(extra, "input", "user"),
    ]
    said = [text for text in texts if text.strip()]
    if not said:
        raise BadRow(field, "user", "the text is empty")
    return "\n\n".join(said)


def turns_in(value: object, field: str, role_key: str = "role", text_key: str = "content") -> list[Message]:
    """A list of turns as messages in the project's roles, in any order. Raises BadRow with turn and role."""
    return [
        _message(object_in(turn, f"{field}[{index}]"), f"{field}[{index}]", role_key, text_key)
        for index, turn in enumerate(list_in(value, field))
    ]


def text_or_turns(value: object, field: str, speaker: Speaker) -> list[Message]:
    """Text is one turn of the speaker; anything else must be a list of messages. Raises BadRow."""
    if isinstance(value, list):
        return turns_in(value, field)
    return [Message(role=speaker, content=text_in(value, field, speaker))]


def in_order(turns: Sequence[Message], field: str, last: Speaker) -> list[Message]:
    """The turns, if they are an optional system turn, then user and assistant in alternation up to `last`.

    A system turn that says nothing is left out. Raises BadRow with the turn out of order and its role.
    """
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    offset = len(turns) - len(spoken)
    if not spoken:
        raise BadRow(field, None, f"there is no turn of the {last}")
    for index, turn in enumerate(spoken):
        _check_role(turn["role"], ("user", "assistant")[index % 2], f"{field}[{index + offset}]")
    if spoken[-1]["role"] != last:
        raise BadRow(f"{field}[{len(turns) - 1}]", spoken[-1]["role"], f"the last turn must be the {last}'s")
    return [turn for turn in turns if turn["content"].strip()]


def _message(turn: dict[str, Any], field: str, role_key: str, text_key: str) -> Message:
    written = text_in(turn.get(role_key), f"{field}.{role_key}")
    role = ROLES.get(written.strip().lower())
    if role is None:
        reason = "unknown role; use system, user (human) or assistant (gpt)"
        raise BadRow(f"{field}.{role_key}", written, reason)
    content_in = any_text_in if role == "system" else text_in
    return Message(role=role, content=content_in(turn.get(text_key), f"{field}.{text_key}", written))


def _check_role(role: str, expected: str, field: str) -> None:
    if role == "system":
        raise BadRow(field, role, "a system turn must come first, and only once")
    if role != expected:
        raise BadRow(field, role, f"user and assistant must alternate, the {expected}'s turn was expected")
