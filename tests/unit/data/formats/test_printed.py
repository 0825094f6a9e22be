"""Lists that pandas, numpy or JSON wrote into cells as text are lists again; other text stays as it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.faults import BadRow
from pipeline.data.formats.printed import unprinted
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, U, conversations, demonstration, json_values, said

TURNS = said((U, "it's \"q\"\n[x] 'y'"), (A, "a {b}, 'c' 'd'"))


def printed(value: list[Any]) -> list[str]:
    """The ways in which a list comes to be text."""
    array = np.empty(len(value), dtype=object)
    array[:] = value
    return [json.dumps(value), json.dumps(value, indent=2), str(value), str(array), repr(array), str([array])[1:-1]]


@given(turns=conversations(tools=True))
def test_turns_in_any_column_come_back(turns: list[Any]) -> None:
    for text in printed(turns):
        assert unprinted({"chosen": text, "id": "1"}) == {"chosen": turns, "id": "1"}


@given(texts=st.lists(st.text("ab' \"\n,[", min_size=1), min_size=1, max_size=4))
def test_texts_that_numpy_puts_side_by_side_stay_apart(texts: list[str]) -> None:
    for text in printed(texts):
        assert unprinted({"Responses": text}) == {"Responses": texts}


def test_one_turn_an_object_of_turns_and_what_is_missing() -> None:
    assert unprinted({"output": str(TURNS[1])})["output"] == TURNS[1]
    assert unprinted({"input": json.dumps({"messages": TURNS})})["input"] == {"messages": TURNS}
    cell = "[{'role': 'user', 'content': 'q', 'score': nan, 'x': None} {'role': 'gpt', 'value': array([1., 2.])}]"
    asked, answered = unprinted({"chosen": cell})["chosen"]
    assert asked == {"role": "user", "content": "q", "score": None, "x": None}
    assert answered == {"role": "gpt", "value": [1.0, 2.0]}


@pytest.mark.parametrize(
    "text",
    [
        *("[1, 2]", "[x]", "['a', 'b']", "{'a': 1}", "array([1])", "a", "[broken", "{", "[[1, 2], [3, 4]]", "[]"),
        '{"role": "engineer", "content": "steel"}',
        '{"role": "engineer", "content": "steel',
        '[{"name": "user"}]',
        '[{"role": "user"}]',
        "I said [{'role': 'user', 'content': 'q'}]",
    ],
)
def test_other_text_stays(text: str) -> None:
    row = {"prompt": text, "completion": text}
    assert unprinted(row) is row


@given(value=st.text() | json_values)
def test_any_cell_gives_a_row_or_bad_row(value: Any) -> None:
    row = {"prompt": value, "messages": value}
    assert unprinted(row)["prompt"] == value or isinstance(value, str)


def test_answers_with_their_places_as_pandas_prints_them() -> None:
    cell = str({"text": np.array(["a", "b"], dtype=object), "answer_start": np.array([3, 9])})
    read = unprinted({"question": "q", "answers": cell})
    assert read["answers"] == {"text": ["a", "b"], "answer_start": [3, 9]}
    assert demonstration("prompt_completion", read)["messages"] == said((U, "q"), (A, "a"))


@pytest.mark.parametrize("column", ["chosen", "messages"])
def test_turns_that_are_cut_off_cost_the_row(column: str) -> None:
    for text in printed(TURNS):
        for cut in (text[:-3], text[:-20]):
            with pytest.raises(BadRow, match="cannot be parsed") as caught:
                unprinted({column: cut})
            assert caught.value.field == column


def test_messages_as_text_in_a_table_and_in_parquet(tmp_path: Path) -> None:
    rows = [{"messages": str(said((U, f"q{n}"), (A, f"a{n}"))), "n": n} for n in range(4)]
    rows[3]["messages"] = rows[3]["messages"][:-9]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        found, ledger, chosen = load_demonstrations(tmp_path / name, max_bad_fraction=0.5)
        assert chosen == "messages"
        assert [row["messages"] for row in found] == [said((U, f"q{n}"), (A, f"a{n}")) for n in range(3)]
        assert ledger.dropped == 1
