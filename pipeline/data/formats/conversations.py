"""Converts users' turns to messages: role, content and order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.data.faults import BadRow
from pipeline.data.formats.contents import TurnParts, calls_in, check_parts, tools_in, turn_parts_in
from pipeline.data.formats.fields import any_text_in, is_plain, list_in, object_in, spoken_in, text_in
from pipeline.data.formats.flags import check_row_flags, learning_flag
from pipeline.data.formats.media import check_media, check_text
from pipeline.data.formats.thoughts import in_channel, joined_answers, only_thinks, thoughts_in
from pipeline.data.formats.verdicts import check_verdicts
from pipeline.data.formats.watching import peek
from pipeline.data.rows import Message, Origin, without_marks

Row = dict[str, Any]
Speaker = Literal["user", "assistant"]

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "ai", "bot", "chatbot"), "assistant"
    ),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "tool_response", "function", "function_response", "observation", "ipython"), "tool"),
}

ROLE_KEYS, TEXT_KEYS = ("role", "from", "speaker", "sender", "author"), ("content", "value", "text", "message", "parts")

SYSTEM = ("system", "system_prompt", "systemprompt", "system_message", "systemmessage")
_REQUESTS = ("input", "inputs", "prompt")
_ORDER = ("system", "user", "assistant")
_MAY_FOLLOW = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


@dataclass(frozen=True)
class Turns:
    """A conversation of a row: its column, its turns in the original order, its system text, tools and origin."""

    field: str
    messages: list[Message]
    system: str
    tools: str
    origin: Origin


def turns_of_row(row: Row, field: str, messages: list[Message], *origin: str) -> Turns:
    """The turns with the row's system text and tools, and the text columns among `origin`.

    `origin` are keys of `Origin`. Raises BadRow, also for a row with pictures or sound.
    """
    check_row(row)
    check_verdicts(row)
    kept = {name: text_in(row[name], name) for name in origin if isinstance(row.get(name), str) and row[name].strip()}
    return Turns(field, messages, system_in(row), all_tools_in(row), Origin(**kept))  # type: ignore[typeddict-item]


def check_row(row: Row) -> None:
    """Raise BadRow if the row holds pictures or sound, and LeftOut if it is marked as not to be learned."""
    check_media(row)
    check_row_flags(row)


def system_in(row: Row) -> str:
    """The row's `system` column, or else its `system_prompt` or `system_message`, as text; "" without one.

    Raises BadRow. If the prompt is an object, such as a request to a service, the column may be in that object.
    """
    for within in (row, *_requests(row)):
        keys = {key.lower(): key for key in within if key.lower() in SYSTEM}
        for name in [keys[name] for name in SYSTEM if name in keys]:
            if (text := within[name]) is not None:
                content = turn_parts_in(text, name, "system").text if isinstance(text, list) else text
                return any_text_in(content, name, "system")
    return ""


def all_tools_in(row: Row) -> str:
    """The row's tools, or else the tools of the object with its prompt; "" without tools. Raises BadRow."""
    return next((tools for within in (row, *_requests(row)) if (tools := tools_in(within))), "")


def opened(messages: Sequence[Message], system: str, tools: str) -> list[Message]:
    """Messages in order, with the tools joined to their system turn. `system` is used if they have no system turn."""
    own = messages[0]["role"] == "system"
    texts = [messages[0]["content"] if own else system, tools]
    content = "\n\n".join(text for text in texts if text.strip())
    return [*([Message(role="system", content=content)] if content else []), *messages[own:]]


def joined(instruction: object, extra: object, field: str, extra_field: str = "input") -> str:
    """An instruction joined with its context; one may be blank. Raises BadRow if both are blank."""
    texts = [
        spoken_in(instruction, field, "user") if is_plain(instruction) else any_text_in(instruction, field, "user"),
        "" if extra is None else any_text_in(extra, extra_field, "user"),
    ]
    filled = [text for text in texts if text.strip()]
    if not filled:
        raise BadRow(field, "user", "the text is empty")
    return check_text("\n\n".join(filled), field, "user")


def turns_in(value: object, field: str, role_key: str = "role", text_key: str = "content") -> list[Message]:
    """A list of turns as messages with the project's roles, in any order. Raises BadRow with turn and role.

    If a turn lacks these keys, other common ones are used (`from`, `value`, …). A turn may also be an exchange, keyed
    by its speakers: `{"user": …, "assistant": …}`.
    """
    messages: list[Message] = []
    for index, turn in enumerate(list_in(value, field)):
        place = f"{field}[{index}]"
        messages += _messages(object_in(turn, place), place, role_key, text_key)
        if len(messages) > 1 and only_thinks(messages[-2]) and messages[-1]["role"] == "assistant":
            messages[-2:] = [joined_answers(messages[-2], messages[-1])]
    return messages


def turn_in(turn: dict[str, Any], field: str, role_key: str, text_key: str) -> Message:
    """One turn as one message, by the keys of its role and its text. Raises BadRow with the original role."""
    messages = _messages(turn, field, role_key, text_key)
    if len(messages) > 1:
        raise BadRow(field, None, "one message is expected, found several speakers")
    return messages[0]


def text_or_turns(value: object, field: str, speaker: Speaker) -> list[Message]:
    """Text as one turn of the speaker, or a message or a list of messages as turns. Raises BadRow."""
    if isinstance(value, dict) and not value.keys().isdisjoint(("messages", *ROLE_KEYS)):
        value = value.get("messages") or [value]
    if isinstance(value, list):
        return turns_in(value, field)
    return [Message(role=speaker, content=check_text(spoken_in(value, field, speaker), field, speaker))]


def in_order(turns: Sequence[Message], field: str, last: Speaker) -> list[Message]:
    """The turns, checked to be an optional system turn, then user and assistant in alternation up to `last`.

    Tools may answer an assistant turn, which then continues. A blank system turn is dropped. A prompt, which ends with
    the user, keeps only roles and contents. Raises BadRow with the turn out of order and its role.
    """
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    offset = len(turns) - len(spoken)
    if not spoken:
        raise BadRow(field, None, f"a turn of the {last} is missing")
    before = None
    for index, turn in enumerate(spoken):
        _check_role(turn["role"], before, f"{field}[{index + offset}]")
        before = turn["role"]
    if before != last:
        raise BadRow(f"{field}[{len(turns) - 1}]", before, f"the last turn must be the {last}'s")
    kept = [turn for turn in turns if turn["content"].strip()]
    return without_marks(kept) if last == "user" else kept


def _requests(row: Row) -> list[dict[str, Any]]:
    """The objects that may hold the prompt; other columns do not count as read."""
    return [row[key] for key in _REQUESTS if isinstance(peek(row, key), dict)]


def _messages(turn: dict[str, Any], field: str, role_key: str, text_key: str) -> list[Message]:
    """A turn's messages: usually one; several if the turn is an exchange or holds the results of several tools."""
    role_key, text_key = _key(turn, role_key, ROLE_KEYS), _key(turn, text_key, TEXT_KEYS)
    if role_key not in turn and (speakers := _exchanged(turn)):
        rest = {key: value for key, value in turn.items() if key.lower() not in ROLES}  # for example flags
        return [
            message
            for role in _ORDER
            for key in speakers.get(role, ())
            for message in _messages({**rest, "role": role, "content": turn[key]}, f"{field}.{key}", "role", "content")
        ]
    if role_key not in turn:
        raise BadRow(f"{field}.{role_key}", None, "the turn has no role")
    written = text_in(turn.get(role_key), f"{field}.{role_key}")
    role = ROLES.get(written.strip().lower())
    if role is None:
        reason = "unknown role; use system, user (human), assistant (gpt) or tool"
        raise BadRow(f"{field}.{role_key}", written, reason)
    return _spoken(turn, role, written, field, text_key)


def _spoken(turn: dict[str, Any], role: str, written: str, field: str, text_key: str) -> list[Message]:
    """The messages of a turn of a known role."""
    place, value = f"{field}.{text_key}", turn.get(text_key)
    if len(turn) == 2 and isinstance(value, str) and role != "system":  # the usual turn: role and text
        return [Message(role=role, content=check_text(text_in(value, place, written), place, role))]
    check_media(turn)
    calls = calls_in(turn, field, written) if role == "assistant" else []
    parts = TurnParts() if calls and not value else turn_parts_in(value, place, written)
    parts.calls += calls
    if role == "assistant" and turn.get("channel") is not None:
        parts = in_channel(parts, str(turn["channel"]), f"{field}.channel", written)
    if role == "system" and (tools := tools_in(turn, f"{field}.")):
        parts.texts.append(tools)
    check_parts(parts, role, place, written)
    text = check_text(parts.text, place, role)
    if not (text.strip() or role == "system" or parts.results or (parts.thoughts and turn.get("channel"))):
        raise BadRow(place, written, "the text is empty")
    results = [Message(role="tool", content=result) for result in parts.results]
    if results and not text.strip():
        return results
    message = Message(role=role, content=text)
    if learning_flag(turn, field, written) is False and role == "assistant":
        message["train"] = False
    if role == "assistant" and (thoughts := thoughts_in(turn, parts, field, written)):
        message["reasoning_content"] = thoughts
    return [*results, message]


def _key(turn: Mapping[str, Any], wanted: str, others: Sequence[str]) -> str:
    """The wanted key, or else the first of the others that the turn has, in any case."""
    if wanted in turn:
        return wanted
    written = {key.lower(): key for key in turn}
    return next((written[key] for key in others if key in written), wanted)


def _exchanged(turn: Mapping[str, Any]) -> dict[str, list[str]]:
    """Role -> keys of an exchange whose keys are the speakers; empty for any other turn."""
    speakers: dict[str, list[str]] = {}
    for key, value in turn.items():
        role = ROLES.get(key.lower())
        if role in _ORDER and value is not None:
            speakers.setdefault(role, []).append(key)
    return speakers


def _check_role(role: str, before: str | None, field: str) -> None:
    expected = _MAY_FOLLOW[before]
    if role in expected:
        return
    if role == "system":
        raise BadRow(field, role, "a system turn must come first, and only once")
    if role == "tool":
        raise BadRow(field, role, "a tool's turn must follow the assistant's")
    raise BadRow(field, role, f"user and assistant must alternate, the {expected[0]}'s turn was expected")
