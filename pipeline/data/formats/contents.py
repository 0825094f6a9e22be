"""What one turn says, as text: parts are joined, calls of tools are written as JSON."""

import json
from typing import Any

from pipeline.data.faults import BadRow
from pipeline.data.formats.fields import any_text_in, list_in, object_in, text_in
from pipeline.data.reading.jsontext import parse_json

_TEXT_PARTS = ("text", "input_text", "output_text")


def content_in(value: object, field: str, written: str, may_be_blank: bool = False) -> str:
    """What a turn says: text, or a list of parts, all of them text, with a blank line between. Raises BadRow."""
    if isinstance(value, list):
        value = "\n\n".join(_part(part, f"{field}[{index}]", written) for index, part in enumerate(value))
    return any_text_in(value, field, written) if may_be_blank else text_in(value, field, written)


def calls_in(turn: dict[str, Any], field: str, written: str) -> str:
    """The calls of tools in a turn of the assistant's as JSON objects with name and arguments, one a line.

    They are in `tool_calls`, or in `function_call` as it was called before; no calls are no text. Raises BadRow.
    """
    if turn.get("tool_calls"):
        calls = enumerate(list_in(turn["tool_calls"], f"{field}.tool_calls"))
        return "\n".join(_call(call, f"{field}.tool_calls[{index}]", written) for index, call in calls)
    if turn.get("function_call"):
        return _call(turn["function_call"], f"{field}.function_call", written)
    return ""


def tools_in(row: dict[str, Any]) -> str:
    """The row's `tools` column as text: text as it stands, a list as JSON with one tool a line. Raises BadRow."""
    tools = row.get("tools")
    if not tools or (isinstance(tools, str) and tools.strip() in ("", "[]")):
        return ""
    if isinstance(tools, list):
        return "\n".join(_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    return any_text_in(tools, "tools", "system")


def _tool(value: object, field: str) -> str:
    return any_text_in(value, field, "system") if isinstance(value, str) else _as_json(value, field, "system")


def _part(value: object, field: str, written: str) -> str:
    part = object_in(value, field)
    if part.get("type", "text") not in _TEXT_PARTS:
        raise BadRow(f"{field}.type", written, "only parts that are text can be used")
    return any_text_in(part.get("text"), f"{field}.text", written)


def _call(value: object, field: str, written: str) -> str:
    call = object_in(value, field)
    function = object_in(call["function"], f"{field}.function") if "function" in call else call
    arguments = function.get("arguments")
    name = text_in(function.get("name"), f"{field}.name", written)
    return _as_json({"name": name, "arguments": _parsed(arguments)}, field, written)


def _parsed(arguments: object) -> object:
    """Arguments are often JSON within JSON; what does not parse stays as it is written."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return parse_json(arguments)
    except json.JSONDecodeError:
        return arguments


def _as_json(value: object, field: str, written: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise BadRow(field, written, "the value cannot be written as JSON") from None
    return any_text_in(text, field, written)
