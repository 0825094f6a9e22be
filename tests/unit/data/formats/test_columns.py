"""Prompts and answers under other names: mapped by hand, found by common names, and refused where they are unclear."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import with_columns
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS
from tests.unit.data.raw_rows import A, S, U, demonstration, json_values, said


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"instruction": "i", "response": "a"}, "i"),
        ({"instruction": "i", "context": "about", "response": "a", "category": "x"}, "i\n\nabout"),
        ({"context": "about", "question": "q", "answers": {"text": ["a", "b"], "answer_start": [3, 9]}}, "q\n\nabout"),
        ({"input": "q", "output": "a"}, "q"),
        ({"query": "q", "answer": "a"}, "q"),
        ({"QUESTION": "q", "Answer": "a"}, "q"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "q"),
        ({"prompt": "q", "completion": "a", "response": None, "instruction": ""}, "q"),
        ({"prompt": "q", "context": "", "input": None, "completion": "a"}, "q"),
    ],
)
def test_common_names_of_prompt_and_answer(row: dict[str, Any], asked: str) -> None:
    assert detect([row], DEMONSTRATIONS, Path("f")).name == "prompt_completion"
    assert demonstration("prompt_completion", row)["messages"] == said((U, asked), (A, "a"))


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"prompt": "q", "question": "q", "answer": "a"}, "prompt + answer or question + answer", "keep one of each"),
        ({"question": "q", "Answer": "a", "answer": "b"}, "question + Answer or question + answer", "keep one of each"),
        ({"prompt": "q", "input": "x", "context": "y", "output": "a"}, "input or context", "keep one of them"),
        ({"question": "q", "answers": {"text": []}}, "answers.text", "the list is empty"),
        ({"prompt": "x", "chosen": said((U, "q"), (A, "a"))}, "chosen", "begins with another prompt"),
        ({"prompt": "q", "completion": None}, "completion", "found nothing"),
    ],
)
def test_unclear_columns_are_refused_by_name(row: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        demonstration("prompt_completion", row)
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_orca_with_an_empty_system_prompt() -> None:
    row = {"id": "x", "system_prompt": "", "question": "q", "response": "a"}
    assert demonstration("openorca", row)["messages"] == said((U, "q"), (A, "a"))
    assert demonstration("openorca", {**row, "system_prompt": "s"})["messages"][0] == said((S, "s"))[0]


def test_columns_named_by_hand() -> None:
    row = {"Frage": "q", "data": {"text": "a", "raw": 1}, "prompt": "other", "a.b": 2}
    mapped = with_columns(row, {"prompt": "Frage", "completion": "data.text", "id": "a.b"})
    assert mapped == {"data": row["data"], "prompt": "q", "completion": "a", "id": 2}
    assert with_columns({"a": 1, "b": 2}, {"a": "b", "b": "a"}) == {"a": 2, "b": 1}
    for missing in ("nothing", "data.nothing", "Frage.text"):
        with pytest.raises(BadRow, match="the column does not exist") as caught:
            with_columns(row, {"prompt": missing})
        assert caught.value.field == missing


rows = st.dictionaries(st.sampled_from("abcdef"), json_values)


@given(row=rows, renamed=st.permutations("abcdef"))
def test_renaming_columns_moves_values_and_loses_none(row: dict[str, Any], renamed: list[str]) -> None:
    columns = {ours: theirs for ours, theirs in zip("abcdef", renamed, strict=True) if theirs in row}
    before = dict(row)
    mapped = with_columns(row, columns)
    assert row == before
    assert mapped == {ours: row[theirs] for ours, theirs in columns.items()}
    assert with_columns(mapped, {theirs: ours for ours, theirs in columns.items()}) == row


@pytest.mark.parametrize(
    ("row", "columns", "format"),
    [
        ({"prompt": "q", "response": "x", "answer": "a"}, {"completion": "answer"}, "prompt_completion"),
        ({"input": "q", "output": "x", "expected": "a"}, {"completion": "expected"}, "prompt_completion"),
        (
            {"instruction": "i", "output": "x", "Q": "q", "A": "a"},
            {"prompt": "Q", "completion": "A"},
            "prompt_completion",
        ),
        (
            {"messages": said((U, "x"), (A, "y")), "Q": "q", "A": "a"},
            {"prompt": "Q", "completion": "A"},
            "prompt_completion",
        ),
        ({"question": "x", "answer": "y", "log": {"t": said((U, "q"), (A, "a"))}}, {"messages": "log.t"}, "messages"),
    ],
)
def test_columns_that_are_mapped_win_over_others_that_could_be_meant(
    row: dict[str, Any], columns: dict[str, str], format: str
) -> None:
    mapped = with_columns(row, columns)
    assert detect([mapped], DEMONSTRATIONS, Path("f"), mapped=True).name == format
    assert demonstration(format, mapped)["messages"] == said((U, "q"), (A, "a"))
    assert any(key.endswith("(set aside)") for key in mapped)
