"""The law of all formats: any row gives a result or BadRow, never another exception."""

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.faults import BadRow
from pipeline.data.formats.coded import Codes, with_meanings
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import (
    DEMONSTRATIONS,
    JUDGEMENTS,
    MESSAGES,
    PROMPTS,
    TEXTS,
    Format,
    demonstrations_in,
)
from pipeline.errors import RequestError
from tests.examples import at_most
from tests.unit.data.raw_rows import A, T, U, json_values, said

EVERY = (*DEMONSTRATIONS, *JUDGEMENTS, *PROMPTS, *TEXTS, *MESSAGES)
KEYS = (
    *("messages", "conversations", "role", "from", "content", "value", "text", "type", "tools", "tool_calls"),
    *("function_call", "function", "name", "arguments", "system", "system_prompt", "history", "input", "context"),
    *("instruction", "prompt", "question", "query", "output", "completion", "response", "answer", "answers"),
    *("contexts", "long_answer", "replies", "rank", "deleted", "review_result", "message_id", "parent_id"),
    *("label", "rating", "edit", "user", "responses", "rankings", "annotator", "ranks", "chosen", "rejected"),
    *("contents", "parts", "functionCall", "functionResponse", "args", "systemInstruction", "thinking", "input_schema"),
    *("mapping", "current_node", "message", "author", "content_type", "children", "parent", "thoughts", "recipient"),
    *("options", "accept", "conversation", "inputs", "targets", "weight", "loss_mask", "images", "reasoning_content"),
    *("response1", "response2", "annotator1", "winner", "margin", "group", "id", "idx", "QUESTION", "Prompt"),
)
LIKELY = (U, A, "system", "tool", "human", "gpt", "Human: q\nAssistant: a", "👍", "tie", "[]", "\ud800", True, 0, 1, 2)
GOOD: tuple[dict[str, Any], ...] = (
    {"instruction": "i", "input": "x", "output": "o", "history": [["q", "a"]], "system": "s"},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "tools": [{"name": "f"}]},
    {
        "id": "c",
        "messages": [
            *said((U, "q")),
            {"role": A, "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            *said((T, "r")),
            {"role": A, "content": [{"type": "text", "text": "a"}]},
        ],
    },
    {"question": "q", "context": "c", "answers": {"text": ["a"]}},
    {"QUESTION": "q", "CONTEXTS": ["c"], "LONG_ANSWER": "a"},
    {
        "prompt": {
            "message_id": "m",
            "role": "prompter",
            "text": "q",
            "replies": [{"role": A, "text": text, "rank": rank} for rank, text in enumerate("ab")],
        }
    },
    {"contents": [{"role": U, "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]},
    {
        "current_node": "2",
        "mapping": {
            "1": {
                "parent": None,
                "message": {"author": {"role": U}, "content": {"content_type": "text", "parts": ["q"]}},
            },
            "2": {
                "parent": "1",
                "message": {"author": {"role": A}, "content": {"content_type": "text", "parts": ["a"]}},
            },
        },
    },
    {"text": "q", "options": [{"id": 1, "text": "a"}], "accept": [1], "answer": "accept"},
    {"conversation": [{"user": "q", "assistant": "a", "weight": 1}], "loss_mask": [1]},
    {
        "messages": [
            *said((U, "q")),
            {"role": A, "content": [{"type": "tool_use", "name": "f", "input": {"x": 1}}]},
            {"role": U, "content": [{"type": "tool_result", "content": "r"}]},
            {"role": A, "content": "a", "thinking": "t"},
        ]
    },
    {"prompt": said((U, "q")), "completion": said((A, "a")), "label": True},
    {"prompt": "q", "response": "a", "edited_response": "b", "rating": "up", "user": "ann"},
    {"prompt": "q", "responses": ["a", "b"], "rankings": [{"annotator": "x", "ranks": [1, 2]}]},
    {"idx": 1, "instruction": "i", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 0},
    {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "tie"},
    {"prompt": "q", "chosen": said((U, "q"), (A, "a")), "rejected": said((U, "q"), (A, "b")), "margin": 0.5},
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    {"text": "prose"},
    {"input": {"messages": said((U, "q"))}, "preferred_output": said((A, "a")), "non_preferred_output": said((A, "b"))},
    {"messages": said((U, "q"), (A, "a")), "rejected_response": "b"},
    {"messages": said((U, "q"), (A, "a")), "label": False},
    {"prompt": "q", "answers": [{"answer": "a", "rank": 1.0}, {"answer": "b", "rank": 2.0}]},
    {"instruction": "q", "completions": [{"response": "a", "overall_score": 7}, {"response": "b", "overall_score": 3}]},
    {"instruction": "q", "generations": ["a", "b"], "ratings": [5.0, 3.0]},
    {"prompt": "q", "response": "a", "helpfulness": 3},
    {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": 9, "score_B": 2},
    {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1},
    {"conversation_a": said((U, "q"), (A, "a")), "conversation_b": said((U, "q"), (A, "b")), "winner": "tie"},
    {"prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]', "winner_model_a": 1, "winner_model_b": 0},
    {"prompt": "q", "options": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], "accept": [1], "answer": "accept"},
    {"prompt": "q", "annotator": "ann", "response_1": "a", "rank_1": 1, "response_2": "b", "rank_2": "2"},
    {
        "data": {"rating": 1},
        "meta": {"message_id": "m2"},
        "snapshot": {
            "chat": {
                "chat": {
                    "history": {
                        "messages": {
                            "m1": {"parentId": None, "role": U, "content": "q"},
                            "m2": {"parentId": "m1", "role": A, "content": "a"},
                        }
                    }
                }
            }
        },
    },
)

near_misses = st.recursive(
    json_values | st.sampled_from(LIKELY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
any_rows = st.dictionaries(st.sampled_from(KEYS), near_misses, max_size=6)


@st.composite
def rows_of(draw: st.DrawFn, one: Format[Any]) -> dict[str, Any]:
    """A row with all columns that the format needs, and some others."""
    needed = draw(st.sampled_from(one.columns))
    return draw(st.fixed_dictionaries(dict.fromkeys(needed, near_misses))) | draw(any_rows)


@st.composite
def spoiled_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A good row in which one value, at any depth, is another."""
    row = deepcopy(draw(st.sampled_from(GOOD)))
    inside: Any = row
    while True:
        key = draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
        if not inside[key] or not isinstance(inside[key], dict | list) or draw(st.booleans()):
            inside[key] = draw(near_misses)
            return row
        inside = inside[key]


def check(row: dict[str, Any], one: Format[Any], mend: bool) -> bool:
    """Whether the row could be used; it must give what JSON and UTF-8 can hold, or else BadRow, and stay as it was.

    Codes that one row does not settle refuse its file.
    """
    before = json.dumps(row)
    try:
        codes = Codes()
        codes.add([row], one.codes_of)
        settled = with_meanings(row, one.codes_of, codes.settle("the row"))
        found = demonstrations_in(settled, one, mend) if one in DEMONSTRATIONS else one.convert(settled)
    except (BadRow, RequestError):
        return False
    finally:
        assert json.dumps(row) == before
    assert found
    json.dumps(found, ensure_ascii=False, default=asdict).encode()
    return True


def texts_in(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in a row."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from texts_in(inner, *path, key)


@pytest.mark.parametrize("row", GOOD, ids=lambda row: "+".join(row)[:60])
def test_half_a_surrogate_pair_in_any_text_is_left_out_or_refused(row: dict[str, Any]) -> None:
    for *path, last in texts_in(row):
        broken = deepcopy(row)
        inside: Any = broken
        for key in path:
            inside = inside[key]
        inside[last] += "\ud800"
        for one in EVERY:
            check(broken, one, mend=False)


def test_the_good_rows_are_good() -> None:
    for row in GOOD:
        assert any(check(row, one, mend=False) for one in EVERY if one.matches(row))


@pytest.mark.parametrize("one", EVERY, ids=[f"{one.kind}-{one.name}" for one in EVERY])
@at_most(15)
@given(data=st.data(), mend=st.booleans())
def test_any_row_gives_a_result_or_bad_row(one: Format[Any], data: st.DataObject, mend: bool) -> None:
    check(data.draw(rows_of(one)), one, mend)


@example(row={**GOOD[1], "tools": ["\ud800"]}, mend=False)
@at_most(80)
@given(row=spoiled_rows(), mend=st.booleans())
def test_a_spoiled_row_gives_a_result_or_bad_row(row: dict[str, Any], mend: bool) -> None:
    for one in EVERY:
        check(row, one, mend)


@at_most(60)
@given(row=any_rows)
def test_any_row_is_in_some_format_or_refused(row: dict[str, Any]) -> None:
    for formats in (DEMONSTRATIONS, JUDGEMENTS):
        with suppress(RequestError):
            assert detect([row], formats, Path("f")).matches(row)
