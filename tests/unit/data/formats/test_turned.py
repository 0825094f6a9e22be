"""Transposed rows and turns give the same conversation; incomplete ones do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.formats.remarks import ignored_keys
from pipeline.data.formats.turned import as_rows_are
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, S, U, said
from tests.unit.data.test_loading import lines

TURNS = said((U, "q"), (A, "bad"), (U, "again"), (A, "good"))
MARKED = [TURNS[0], {**TURNS[1], "train": False}, *TURNS[2:]]


def sideways(turns: list[Any], *keys: str) -> dict[str, list[Any]]:
    return {key: [turn[own] for turn in turns] for key, own in zip(keys, ("role", "content"), strict=True)}


def exchanges(asked: str, answered: str) -> list[dict[str, Any]]:
    return [{asked: "q", answered: "bad"}, {asked: "again", answered: "good"}]


SHAPES: list[dict[str, Any]] = [
    {"messages": sideways(TURNS, "role", "content")},
    {"conversations": sideways(TURNS, "from", "value")},
    {"messages": [json.dumps(turn) for turn in TURNS]},
    {"messages": {str(number): TURNS[number] for number in (2, 0, 3, 1)}},
    {"conversation": exchanges("input", "output")},
    {"conversation": exchanges("question", "answer")},
    {"dialogue": exchanges("q", "a")},
    {"conversation": [{"sender": "user", "message": "q"}, {"sender": "bot", "message": "bad"}, *TURNS[2:]]},
    {"chat_messages": [{"author": turn["role"], "text": turn["content"]} for turn in TURNS]},
    {"row_idx": 3, "row": {"messages": TURNS, "id": 1}, "truncated_cells": []},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_turns_are_put_in_their_order(tmp_path: Path, shape: dict[str, Any]) -> None:
    (found,), _, _ = load_demonstrations(lines(tmp_path, shape, shape))
    assert found["messages"] == TURNS


def test_more_than_ten_numbered_turns_keep_their_order() -> None:
    turns = [{"role": (U, A)[number % 2], "content": str(number)} for number in range(12)]
    assert as_rows_are({"messages": {str(number): turn for number, turn in enumerate(turns)}}) == {"messages": turns}


def test_flags_and_system_texts_of_turned_turns_hold(tmp_path: Path) -> None:
    flags = {**sideways(TURNS, "role", "content"), "weight": [None, 0, None, 1]}
    xtuner = [
        {"system": "s", **one, "output_with_loss": loss}
        for one, loss in zip(exchanges("input", "output"), (0, 1), strict=True)
    ]
    xtuner[1].pop("system")
    for shape, expected in (({"messages": flags}, MARKED), ({"conversation": xtuner}, [*said((S, "s")), *MARKED])):
        (found,), _, _ = load_demonstrations(lines(tmp_path, shape, shape))
        assert found["messages"] == expected


@pytest.mark.parametrize(
    "row",
    [
        {"messages": {"role": [U, A], "content": ["q"]}},  # one text is missing
        {"messages": ["q", "a"]},  # no roles
        {"messages": [["q", "a"]]},
        {"messages": {"0": "q", "1": "a"}},
        {"row": {"messages": TURNS}, "label": 0},
    ],
)
def test_others_are_left_as_they_are_and_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    assert as_rows_are(row) is row
    with pytest.raises(RequestError):
        load_demonstrations(lines(tmp_path, row, row))


def test_keys_of_exchanges_that_are_not_read_are_told() -> None:
    found = ignored_keys(
        [{"user": "q", "assistant": "a", "verdict": "bad", "weight": 1, "reasoning": "r", "system": "s"}]
    )
    assert found == ["verdict"]


ROWS = [{"prompt": f"q{number}", "completion": f"a{number}"} for number in range(3)]


@pytest.mark.parametrize("key", ["data", "rows", "examples", "records"])
@pytest.mark.parametrize("beside", [{}, {"version": "1.0", "info": {"by": "me"}}])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_rows_in_a_document(tmp_path: Path, key: str, beside: dict[str, Any], indent: int | None) -> None:
    file = tmp_path / "a.json"
    framed = [{"row_idx": 0, "row": row, "truncated_cells": []} for row in ROWS] if key == "rows" else ROWS
    file.write_text(json.dumps({**beside, key: framed}, indent=indent))
    found, _, _ = load_demonstrations(file)
    assert sorted(row["messages"][1]["content"] for row in found) == ["a0", "a1", "a2"]


@pytest.mark.parametrize(
    "document",
    [
        {"train": ROWS, "test": ROWS},  # which of them is unknown
        {"instruction": "Do it.", "examples": ROWS},  # the rows belong to the instruction
        {"data": []},
    ],
)
def test_other_documents_are_no_list_of_rows(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(RequestError):
        load_demonstrations(tmp_path / "a.json")


def test_a_row_of_a_wrapped_list_has_its_line(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "q", "completion": None}, *({"prompt": f"p{n}", "completion": "a"} for n in range(9))]
    text = json.dumps({"version": 1, "data": rows}, indent=1)
    (tmp_path / "a.json").write_text(text)
    _, ledger, _ = load_demonstrations(tmp_path / "a.json")
    (entry,) = ledger.entries
    assert text.splitlines()[entry.place.line].strip() == '"prompt": "q",'
    assert entry.place.item == 3


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"body": {"messages": TURNS}}, "data.columns.messages=body.messages"),
        ({"data": {"turns": TURNS}}, "data.columns.messages=data.turns"),
        ({"messages": ["q", "a"]}, "`messages` holds a list that starts with text"),
        ({"conversation": [["q", "a"]]}, "`conversation` holds a list that starts with a list"),
        ({"messages": [{"type": "human", "content": "q"}]}, "starts with an object with type, content"),
    ],
)
def test_hints_on_conversations(tmp_path: Path, row: dict[str, Any], hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_demonstrations(lines(tmp_path, row, row))
    assert hint in str(caught.value)


def test_rows_that_cannot_be_read_are_told_with_the_first_fault(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none of its first 2 rows .* printed as text cannot be parsed"):
        load_demonstrations(lines(tmp_path, *({"messages": str(TURNS)[:-20]} for _ in range(2))))
