"""The content of one turn as text: parts are joined, tool calls become JSON, reasoning stays separate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.faults import BadRow
from pipeline.data.formats.fields import any_text_in, is_plain, list_in, object_in, spoken_in, text_in
from pipeline.data.reading.jsontext import parse_json

TOOLS = ("tools", "functions")
_NO_TOOLS = ("", "[]", "{}", "null", "None", "nan", "NaN")
_TEXT_PARTS = ("text", "input_text", "output_text")
_TEXT_KEYS = ("text", "value", "content")
_THOUGHTS = ("thinking", "reasoning")
_CALLS = ("tool_use", "server_tool_use", "tool_call", "function_call")
ARGUMENTS = ("arguments", "input", "args", "parameters")
_KEYED = {
    "toolUse": "tool_use",
    "toolResult": "tool_result",
    "reasoningContent": "reasoning",
    "cachePoint": "cache_point",
} | dict.fromkeys(("image", "document", "video", "audio", "guardContent"), "media")
_IGNORED_KINDS = ("redacted_thinking", "cache_point")  # encrypted reasoning, and markers for a service's cache
_RESULTS = ("tool_result", "tool_response", "function_response")


@dataclass
class TurnParts:
    """The parts of a turn: texts, tool calls as JSON, reasoning before the answer, and tool results."""

    texts: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Texts and calls, with a blank line between the texts and before the calls."""
        return "\n\n".join(text for text in ("\n\n".join(self.texts), "\n".join(self.calls)) if text.strip())


def turn_parts_in(value: object, field: str, written: str) -> TurnParts:
    """The parts of a turn's content: text, a part or a list of parts, without pictures. Raises BadRow."""
    parts = TurnParts()
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        parts.texts.append(spoken_in(value, field, written) if is_plain(value) else any_text_in(value, field, written))
        return parts
    for index, part in enumerate(value):
        _add_part(parts, object_in(part, f"{field}[{index}]"), f"{field}[{index}]", written)
    return parts


def check_parts(parts: TurnParts, role: str, field: str, written: str) -> None:
    """Raise BadRow for calls, reasoning or tool results in a turn of the wrong role."""
    if role != "assistant" and (parts.calls or parts.thoughts):
        raise BadRow(field, written, "only the assistant calls tools and reasons")
    if role not in ("user", "tool") and parts.results:
        raise BadRow(field, written, "a tool's result must be in a turn of the user or the tool")


def calls_in(turn: Mapping[str, Any], field: str, written: str) -> list[str]:
    """The tool calls of an assistant turn as JSON objects with name and arguments.

    They are in `tool_calls`, or under the older keys `function_call` and `function_calls`. Raises BadRow.
    """
    for key in ("tool_calls", "function_calls"):
        given = _parsed(turn.get(key))
        if given:
            calls = enumerate(list_in(given, f"{field}.{key}"))
            return [_call(call, f"{field}.{key}[{index}]", written) for index, call in calls]
    if turn.get("function_call"):
        return [_call(turn["function_call"], f"{field}.function_call", written)]
    return []


def tools_in(row: Mapping[str, Any], within: str = "") -> str:
    """The `tools` (or `functions`) of a row or a turn as text: text unchanged, a list as JSON with one tool per line.

    Raises BadRow, also if both columns have a value. `within` is the prefix of field names in faults.
    """
    found = {key: text for key in TOOLS if key in row and (text := _tools(row[key], f"{within}{key}"))}
    if len(set(found.values())) > 1:
        raise BadRow(f"{within}{' or '.join(found)}", None, "several columns could be the tools: keep one of them")
    return next(iter(found.values()), "")


def call_of(name: object, arguments: object, field: str, written: str) -> str:
    """A call as JSON with name and arguments. Raises BadRow."""
    name = text_in(name, f"{field}.name", written)
    call = {"name": name, "arguments": _parsed(arguments)}
    return _as_json(call, field, written, with_nulls=isinstance(arguments, str))


def as_text(value: object, field: str, written: str) -> str:
    """A tool's result: text unchanged, parts as their texts, anything else as JSON. Raises BadRow."""
    if isinstance(value, str):
        return text_in(value, field, written)
    if isinstance(value, list) and value and all(isinstance(part, dict) and _is_part(part) for part in value):
        return text_in(turn_parts_in(value, field, written).text, field, written)
    if value is None:
        raise BadRow(field, written, "text is expected, found nothing")
    return _as_json(value, field, written)


def _tools(value: object, field: str) -> str:
    if not value or (isinstance(value, str) and value.strip() in _NO_TOOLS):
        return ""
    if isinstance(value, list):
        return "\n".join(_tool(tool, f"{field}[{index}]") for index, tool in enumerate(value))
    return _tool(value, field)


def _tool(value: object, field: str) -> str:
    if isinstance(value, dict):
        return _as_json(value, field, "system")
    return any_text_in(value, field, "system")


def _add_part(parts: TurnParts, part: dict[str, Any], field: str, written: str) -> None:
    part = _typed(part)
    kind = "text" if part.get("type") is None else part["type"]
    if kind in _THOUGHTS:
        if parts.texts or parts.calls:
            raise BadRow(f"{field}.type", written, "reasoning must come before texts and calls")
        parts.thoughts.append(any_text_in(part.get(kind, part.get("text")), f"{field}.{kind}", written))
    elif kind in _IGNORED_KINDS:
        return
    elif kind in _CALLS:
        parts.calls.append(_call(part, field, written))
    elif kind in _RESULTS:
        parts.results.append(as_text(part.get("content", part.get("output")), f"{field}.content", written))
    elif kind in _TEXT_PARTS:
        key = next((key for key in _TEXT_KEYS if part.get(key) is not None), "text")
        parts.texts.append(any_text_in(part.get(key), f"{field}.{key}", written))
    else:
        raise BadRow(f"{field}.type", written, "only parts that are text can be used")


def _is_part(value: dict[str, Any]) -> bool:
    return "type" in value or value.keys() == {"text"}


def _typed(part: dict[str, Any]) -> dict[str, Any]:
    """A Bedrock part, whose only key is its kind, with the kind under `type`; other parts unchanged."""
    (kind, value), *others = [(key, value) for key, value in part.items() if value is not None] or [("", None)]
    if others or kind not in _KEYED:
        return part
    if kind == "reasoningContent":
        value = object_in(object_in(value, kind).get("reasoningText"), kind)
    return {**object_in(value, kind), "type": _KEYED[kind]}


def _call(value: object, field: str, written: str) -> str:
    call = object_in(value, field)
    function = object_in(call["function"], f"{field}.function") if isinstance(call.get("function"), dict) else call
    arguments = next((function[key] for key in ARGUMENTS if function.get(key) is not None), None)
    return call_of(function.get("name"), arguments, field, written)


def _parsed(arguments: object) -> object:
    """Arguments are often JSON within JSON; a text that does not parse stays."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return parse_json(arguments)
    except json.JSONDecodeError:
        return arguments


def _as_json(value: object, field: str, written: str, with_nulls: bool = False) -> str:
    try:
        text = json.dumps(value if with_nulls else _without_nulls(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise BadRow(field, written, "the value cannot be written as JSON") from None
    return any_text_in(text, field, written)


def _without_nulls(value: Any) -> Any:
    """The value without null keys, which parquet adds if the objects of a list have different keys."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
