"""Conversations as services write them: Gemini's contents, Anthropic's blocks, ChatGPT's export."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS
from tests.unit.data.raw_rows import A, S, T, U, demonstration, said

CALLED = '{"name": "weather", "arguments": {"city": "Ulm"}}'

GEMINI: dict[str, Any] = {
    "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "q"}, {"text": "r"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Ulm", "unit": None}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"sun": 1}}}]},
        {"role": "model", "parts": [{"text": "thought", "thought": True}, {"text": "a"}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "weather"}]}],
}
ANTHROPIC: dict[str, Any] = {
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Ulm"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": '{"sun": 1}'}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "thought", "signature": "x"},
                {"type": "redacted_thinking", "data": "xx"},
                {"type": "text", "text": "a"},
            ],
        },
    ],
}
SAID = [
    *said((U, "q\n\nr"), (A, CALLED), (T, '{"sun": 1}')),
    {"role": A, "content": "a", "reasoning_content": "thought"},
]


def test_functions_results_and_thoughts_of_gemini() -> None:
    system = 'Be brief.\n\n{"functionDeclarations": [{"name": "weather"}]}'
    assert demonstration("gemini", GEMINI)["messages"] == [*said((S, system)), *SAID]
    written = {"system_instruction": "Be brief.", "contents": deepcopy(GEMINI["contents"])}
    written["contents"][2]["role"] = "function"
    written["contents"][0]["parts"] = ["q\n\nr"]
    written["contents"][1]["parts"] = [{"function_call": {"name": "weather", "args": {"city": "Ulm"}}}]
    assert demonstration("gemini", written)["messages"] == [*said((S, "Be brief.")), *SAID]


def test_blocks_of_anthropic() -> None:
    assert demonstration("messages", ANTHROPIC)["messages"] == [*said((S, "Be brief.")), *SAID]


@pytest.mark.parametrize(
    ("turn", "part", "field", "reason"),
    [
        (0, {"type": "image", "source": {}}, "messages[0].content[0].type", "only parts that are text"),
        (0, {"type": "tool_use", "name": "f", "input": {}}, "messages[0].content", "only the assistant calls"),
        (1, {"type": "tool_result", "content": "1"}, "messages[1].content", "a tool's result"),
        (2, {"type": "tool_result", "content": None}, "messages[2].content[0].content", "found nothing"),
        (3, {"type": "thinking", "thinking": None}, "messages[3].content[0].thinking", "found nothing"),
    ],
)
def test_blocks_in_the_wrong_place(turn: int, part: dict[str, Any], field: str, reason: str) -> None:
    row = deepcopy(ANTHROPIC)
    row["messages"][turn]["content"] = [part]
    with pytest.raises(BadRow, match=reason) as caught:
        demonstration("messages", row)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"inlineData": {"mimeType": "image/png"}}, "only parts that are text"),
        ({"text": None}, "only parts"),
        (3, "an object"),
    ],
)
def test_what_is_no_text_for_gemini(part: Any, reason: str) -> None:
    row = deepcopy(GEMINI)
    row["contents"][0]["parts"] = [part]
    with pytest.raises(BadRow, match=reason) as caught:
        demonstration("gemini", row)
    assert (caught.value.field or "").startswith("contents[0].parts[0]")


def node(parent: str | None, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": list(parts)}
    return {"parent": parent, "children": [], "message": {"author": {"role": role}, "content": content, **more}}


def export() -> dict[str, Any]:
    mapping = {
        "root": {"id": "root", "message": None, "parent": None, "children": ["s"]},
        "s": node("root", "system", "", weight=0.0, metadata={"is_visually_hidden_from_conversation": True}),
        "u": node("s", "user", "q"),
        "other": node("u", "assistant", "another branch"),
        "t": node("u", "assistant", recipient="all"),
        "a": node("t", "assistant", "a", recipient="all"),
        "u2": node("a", "user", "thanks"),
    }
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "x", "content": "thought"}]}
    mapping["t"]["message"]["content"] = thoughts  # type: ignore[index]
    return {"title": "t", "id": "c", "mapping": mapping, "current_node": "u2"}


def test_the_branch_that_chatgpt_shows() -> None:
    row = export()
    shown = {"role": A, "content": "a", "reasoning_content": "thought"}
    assert demonstration("chatgpt", row) == {"id": "c", "messages": [*said((U, "q")), shown]}
    assert demonstration("chatgpt", {**row, "current_node": "other"})["messages"] == said(
        (U, "q"), (A, "another branch")
    )
    assert detect([row], DEMONSTRATIONS, Path("f")).name == "chatgpt"


def test_tools_that_chatgpt_calls() -> None:
    row = export()
    mapping = row["mapping"]
    mapping["t"] = node("u", "assistant", "print(1)", recipient="python")
    mapping["r"] = {**node("t", "tool"), "message": {"author": {"role": "tool"}}}
    mapping["r"]["message"]["content"] = {"content_type": "execution_output", "text": "1"}
    mapping["a"]["parent"] = "r"
    call = '{"name": "python", "arguments": "print(1)"}'
    assert demonstration("chatgpt", row)["messages"] == said((U, "q"), (A, call), (T, "1"), (A, "a"))


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"current_node": "gone"}, "mapping", "damaged"),
        ({"current_node": None}, "current_node", "several branches"),
        ({"current_node": "u"}, "mapping", "a turn of the assistant is missing"),
    ],
)
def test_trees_that_are_damaged_or_not_settled(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRow, match=reason) as caught:
        demonstration("chatgpt", {**export(), **change})
    assert caught.value.field == field
    looped = export()
    looped["mapping"]["root"]["parent"] = "u2"
    with pytest.raises(BadRow, match="its own ancestor"):
        demonstration("chatgpt", looped)


def test_pictures_in_chatgpt_cost_the_row() -> None:
    row = export()
    row["mapping"]["u"]["message"]["content"] = {
        "content_type": "multimodal_text",
        "parts": [{"asset_pointer": "x"}, "q"],
    }
    with pytest.raises(BadRow, match="only parts that are text"):
        demonstration("chatgpt", row)
