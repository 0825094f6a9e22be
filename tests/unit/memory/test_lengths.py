"""The longest rows of a file: those with the most tokens, whatever kind of row they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.memory.lengths import Lengths, longest_rows
from tests.unit.memory.folders import small_model

TURN = 8  # tokens of the template for each turn


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def written(folder: Path, rows: list[Any]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer in which every word is a token."""
    return small_model(tmp_path_factory.mktemp("m") / "model") / "tokenizer.json"


def test_a_conversation_counts_its_turns_and_its_answers(tmp_path: Path, words: Path) -> None:
    rows = [
        {"messages": [said("user", "w1 w2"), said("assistant", "w3"), said("user", "w4"), said("assistant", "w5 w6")]},
        {"messages": [said("user", "w1"), said("assistant", "w2")]},
    ]
    found = longest_rows(written(tmp_path, rows), words)
    assert found == Lengths(row=6 + 4 * TURN, prompt=4 + 3 * TURN, predicted=3 + 2 * TURN, answers=1)


def test_a_pair_counts_its_longer_answer(tmp_path: Path, words: Path) -> None:
    row = {
        "prompt": [said("user", "w1 w2 w3")],
        "chosen": [said("assistant", "w1")],
        "rejected": [said("assistant", "w1 w2 w3 w4")],
        "group": "a",
    }
    found = longest_rows(written(tmp_path, [row]), words)
    assert found == Lengths(row=7 + 2 * TURN, prompt=3 + TURN, predicted=4 + TURN, answers=2)


def test_a_prompt_alone_has_no_answer(tmp_path: Path, words: Path) -> None:
    rows = [{"prompt": [said("user", "w1 w2")]}, {"prompt": [said("user", "w1")]}]
    assert longest_rows(written(tmp_path, rows), words) == Lengths(2 + TURN, 2 + TURN, 0, 1)


def test_without_a_tokenizer_characters_are_counted(tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    for tokenizer in (None, broken):
        found = longest_rows(written(tmp_path, [{"prompt": [said("user", "a" * 31)]}]), tokenizer)
        assert found is not None
        assert found.row == 11 + TURN


@pytest.mark.parametrize("rows", [[], [{"text": "a"}], ["a"], [{"prompt": 3}]])
def test_rows_of_another_kind_have_no_length(tmp_path: Path, words: Path, rows: list[Any]) -> None:
    assert longest_rows(written(tmp_path, rows), words) is None
