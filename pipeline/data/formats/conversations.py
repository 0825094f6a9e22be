"""Turns as users write them, made into messages: who speaks, what is said, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.data.faults import BadRow
from pipeline.data.formats.contents import calls_in, content_in, tools_in
from pipeline.data.formats.fields import any_text_in, list_in, object_in, text_in
from pipeline.data.rows import Message, Origin

Row = dict[str, Any]
Speaker = Literal["user", "assistant"]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "ai"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "tool_response", "function", "function_response", "observation", "ipython"), "tool"),
}

_MAY_FOLLOW = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


@dataclass(frozen=True)
class Turns:
    """A conversation as it stands in a row: its column, its turns in whatever order, and what other columns add.

    `system` and `tools` are the texts of the columns of that name.
    """

    field: str
    messages: list[Message]
    system: str
    tools: str
    origin: Origin


def turns_of_row(row: Row, field: str, messages: list[Message], *origin: str) -> Turns:
    """The turns with the row's system text and tools, and with those columns of `origin` that hold text. Raises BadRow.

    `origin` are keys of `Origin`.
    """
    kept = {name: text_in(row[name], name) for name in origin if isinstance(row.get(name), str) and row[name].strip()}
    return Turns(field, messages, system_in(row), tools_in(row), Origin(**kept))  # type: ignore[typeddict-item]


def system_in(row: Row) -> str:
    """The row's `system` column, or else its `system_prompt`; no text if there is none. Raises BadRow."""
    for name in ("system", "system_prompt"):
        if row.get(name) is not None:
            return any_text_in(row[name], name, "system")
    return ""


def opened(messages: Sequence[Message], system: str, tools: str) -> list[Message]:
    """Messages in order, with the tools joined to their system turn; `system` is that turn if they have none."""
    own = messages[0]["role"] == "system"
    texts = [messages[0]["content"] if own else system, tools]
    said = "\n\n".join(text for text in texts if text.strip())
    return [*([Message(role="system", content=said)] if said else []), *messages[own:]]


def joined(instruction: object, extra: object, field: str, extra_field: str = "input") -> str:
    """An instruction and the text it is about, of which one may be blank. Raises BadRow if both are."""
    texts = [
        any_text_in(instruction, field, "user"),
        "" if extra is None else any_text_in(extra, extra_field, "user"),
    ]
    said = [text for text in texts if text.strip()]
    if not said:
        raise BadRow(field, "user", "the text is empty")
    return "\n\n".join(said)


def turns_in(value: object, field: str, role_key: str = "role", text_key: str = "content") -> list[Message]:
    """A list of turns as messages in the project's roles, in any order. Raises BadRow with turn and role."""
    return [
        turn_in(object_in(turn, f"{field}[{index}]"), f"{field}[{index}]", role_key, text_key)
        for index, turn in enumerate(list_in(value, field))
    ]


def turn_in(turn: dict[str, Any], field: str, role_key: str, text_key: str) -> Message:
    """One turn as a message, by the keys of its role and its text. Raises BadRow with the role as it is written."""
    written = text_in(turn.get(role_key), f"{field}.{role_key}")
    role = ROLES.get(written.strip().lower())
    if role is None:
        reason = "unknown role; use system, user (human), assistant (gpt) or tool"
        raise BadRow(f"{field}.{role_key}", written, reason)
    calls = calls_in(turn, field, written) if role == "assistant" else ""
    said = turn.get(text_key)
    if calls and not said:
        return Message(role=role, content=calls)
    content = content_in(said, f"{field}.{text_key}", written, may_be_blank=role == "system" or calls != "")
    return Message(role=role, content="\n\n".join(text for text in (content, calls) if text.strip()))


def text_or_turns(value: object, field: str, speaker: Speaker) -> list[Message]:
    """Text is one turn of the speaker; anything else must be a list of messages. Raises BadRow."""
    if isinstance(value, list):
        return turns_in(value, field)
    return [Message(role=speaker, content=text_in(value, field, speaker))]


def in_order(turns: Sequence[Message], field: str, last: Speaker) -> list[Message]:
    """The turns, if they are an optional system turn, then user and assistant in alternation up to `last`.

    Tools may answer an assistant's turn, which goes on after them. A system turn that says nothing is left out.
    Raises BadRow with the turn out of order and its role.
    """
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    offset = len(turns) - len(spoken)
    if not spoken:
        raise BadRow(field, None, f"there is no turn of the {last}")
    before = None
    for index, turn in enumerate(spoken):
        _check_role(turn["role"], before, f"{field}[{index + offset}]")
        before = turn["role"]
    if before != last:
        raise BadRow(f"{field}[{len(turns) - 1}]", before, f"the last turn must be the {last}'s")
    return [turn for turn in turns if turn["content"].strip()]


def _check_role(role: str, before: str | None, field: str) -> None:
    expected = _MAY_FOLLOW[before]
    if role in expected:
        return
    if role == "system":
        raise BadRow(field, role, "a system turn must come first, and only once")
    if role == "tool":
        raise BadRow(field, role, "a tool's turn must follow the assistant's")
    raise BadRow(field, role, f"user and assistant must alternate, the {expected[0]}'s turn was expected")
