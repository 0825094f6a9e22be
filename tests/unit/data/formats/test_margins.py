"""Columns beside a pair: a tie stays a tie, and a verdict against the pair reverses it or refuses the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from labeling.flags import TRUE
from pipeline.data.judgements.loading import Loaded, LoadingOptions, load_judgements
from pipeline.errors import RequestError

TIE, FIRST, SECOND = ("", ""), ("one", "two"), ("two", "one")


def load(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Loaded:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_judgements(path, LoadingOptions(**options))


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"q{number}", "chosen": "one", "rejected": "two", **more}


def outcomes(loaded: Loaded) -> set[tuple[str, str]]:
    """(better, worse) of all pairs; TIE for those without a winner."""
    return {
        TIE if row["margin"] == 0 else (row["chosen"][-1]["content"], row["rejected"][-1]["content"])
        for row in loaded.pairs
    }


SCORES = [
    *("{}_score", "score_{}", "{}-rating", "{}_ratings", "{}_reward", "{}Score", "{}_overall_score", "{}_quality"),
    *("{}_points", "human_score_{}", "{}_rm_score", "votes_{}", "{}_avg_rating"),
]


@pytest.mark.parametrize("name", SCORES)
def test_equal_scores_are_a_tie_under_any_name_and_turned_ones_are_refused(tmp_path: Path, name: str) -> None:
    def rows(chosen: float, rejected: float) -> list[dict[str, Any]]:
        word = "Chosen" if name[0].isupper() else "chosen"
        return [pair(n, **{name.format(word): chosen, name.format("rejected"): rejected}) for n in range(4)]

    assert outcomes(load(tmp_path, rows(4, 1))) == {FIRST}
    assert outcomes(load(tmp_path, rows(4, 4))) == {TIE}
    with pytest.raises(RequestError, match="the rejected answer has the higher score") as refused:
        load(tmp_path, rows(1, 4))
    assert f"field {name.format('rejected')}" in str(refused.value)


def test_of_ranks_the_lower_one_is_better(tmp_path: Path) -> None:
    assert outcomes(load(tmp_path, [pair(1, chosen_rank=1, rejected_rank=3)])) == {FIRST}
    with pytest.raises(RequestError, match="better rank"):
        load(tmp_path, [pair(1, chosen_rank=3, rejected_rank=1)])


@pytest.mark.parametrize("name", ["{}_logps", "{}_length", "{}_tokens", "{}_toxicity_score"])
def test_other_numbers_of_both_answers_judge_nothing(tmp_path: Path, name: str) -> None:
    rows = [pair(1, **{name.format("chosen"): 1, name.format("rejected"): 4})]
    assert outcomes(load(tmp_path, rows)) == {FIRST}


TIES = [
    *(("is_tie", true) for true in (True, *TRUE)),
    *(
        ("tie", 1),
        ("Tie", "yes"),
        ("tied", "true"),
        ("status", "tie"),
        ("winner", "tie"),
    ),
    *(("winner", "tie (bothbad)"), ("label", "Both good"), ("preference", "equal"), ("preference_strength", 0)),
    *(("preference_strength", "0.0"), ("strength", "about the same"), ("verdict", "[[Tie]]")),
]


@pytest.mark.parametrize(("column", "value"), TIES)
def test_a_tie_beside_a_pair_is_a_tie(tmp_path: Path, column: str, value: object) -> None:
    assert outcomes(load(tmp_path, [pair(n, **{column: value}) for n in range(3)])) == {TIE}


@pytest.mark.parametrize(("column", "value"), TIES[:5] + TIES[9:12])
def test_a_tie_beside_a_winner_is_a_tie(tmp_path: Path, column: str, value: object) -> None:
    row = {"prompt": "q", "response_a": "one", "response_b": "two", "winner": "a", column: value}
    loaded = load(tmp_path, [row])
    assert [vote["ranks"] for vote in loaded.rankings[0]["rankings"]] == [[1, 1]]


@pytest.mark.parametrize(
    ("column", "value"), [("is_tie", False), ("label", "coding"), ("winner", "gpt-4"), ("strength", 2), ("label", 1)]
)
def test_what_is_no_tie_leaves_the_pair_as_it_is(tmp_path: Path, column: str, value: object) -> None:
    assert outcomes(load(tmp_path, [pair(n, **{column: value}) for n in range(3)])) == {FIRST}


@pytest.mark.parametrize("values", [(1, 0), (True, False), ("1", "-1")])
def test_flags_beside_pairs_are_asked_for_and_turn_them(tmp_path: Path, values: tuple[object, object]) -> None:
    rows = [pair(n, label=values[n % 2]) for n in range(4)]
    with pytest.raises(RequestError, match="column label has the values"):
        load(tmp_path, rows)
    bad = str(values[1]).lower()
    loaded = load(tmp_path, rows, codes={bad: "second"})
    assert [row["chosen"][0]["content"] for row in loaded.pairs] == ["one", "two", "one", "two"]
    assert outcomes(load(tmp_path, rows, codes={bad: "none"})) == {FIRST}


def test_the_example_for_a_code_is_a_meaning_that_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"labeling\.codes=\{0: second\}"):
        load(tmp_path, [pair(n, label=n % 2) for n in range(4)])


def test_texts_that_differ_in_spaces_alone_are_equal(tmp_path: Path) -> None:
    assert outcomes(load(tmp_path, [{"prompt": "q", "chosen": "one two", "rejected": " one  two\n"}])) == {TIE}


@pytest.mark.parametrize(
    "shape",
    [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "one"}]}
        | {"rejected_response": "two"},
        {"input": {"messages": [{"role": "user", "content": "q"}]}}
        | {"preferred_output": [{"role": "assistant", "content": "one"}]}
        | {"non_preferred_output": [{"role": "assistant", "content": "two"}]},
        {"chosen": "\n\nHuman: q\n\nAssistant: one", "rejected": "\n\nHuman: q\n\nAssistant: two"},
    ],
)
def test_other_shapes_of_pairs_say_the_same(tmp_path: Path, shape: dict[str, Any]) -> None:
    assert outcomes(load(tmp_path, [shape])) == {FIRST}
    assert outcomes(load(tmp_path, [shape | {"is_tie": True}])) == {TIE}
    assert outcomes(load(tmp_path, [shape | {"label": 0}], codes={"0": "second"})) == {SECOND}
    with pytest.raises(RequestError, match="column label"):
        load(tmp_path, [shape | {"label": 0}, shape | {"label": 1}])
