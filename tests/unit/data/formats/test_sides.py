"""Two answers side by side: published files, and a winner in one column."""

import json
from pathlib import Path
from typing import Any

import pytest

from labeling.votes import Vote
from pipeline.data.faults import BadRow
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import JUDGEMENTS
from pipeline.errors import RequestError
from tests.places import REAL
from tests.unit.data.raw_rows import A, S, U, judged, ranking_of, said

RANKINGS = REAL / "rankings"
ROW: dict[str, Any] = {"instruction": "i", "input": "x", "response1": "a", "response2": "b"}
WON = {"prompt": "q", "response_a": "a", "response_b": "b"}
BOTH = [{**WON, "winner": 1}, {**WON, "winner": 2}]
"""Rows that settle what 1 and 2 mean."""


def ranks(*rows: dict[str, Any], codes: dict[str, str] | None = None) -> list[Any]:
    """The ranks in each vote."""
    found = judged("pandalm", *rows, codes=codes)
    return [list(vote.ranks or ()) for vote in found if isinstance(vote, Vote)]


@pytest.mark.skipif(not RANKINGS.is_dir(), reason=f"the real files are not there: {RANKINGS}")
def test_the_published_file_says_what_its_neutral_twin_says() -> None:
    published = json.loads((RANKINGS / "pandalm_source_format.json").read_text())
    neutral = [json.loads(line) for line in (RANKINGS / "pandalm_neutral.jsonl").read_text().splitlines()]
    assert judged("pandalm", *published) == judged("rankings", *neutral)


def test_each_annotator_has_a_say() -> None:
    row = {
        **ROW,
        "idx": 3,
        "annotator1": 0,
        "annotator_2": "2",
        "annotator3": 1.0,
        "annotator4": None,
        "annotator5": "",
    }
    found = ranking_of("pandalm", row)
    assert (found["prompt"], found["id"]) == ("i\n\nx", "pandalm-3")
    assert [(one["annotator"], one["ranks"]) for one in found["rankings"]] == [
        ("annotator1", [1, 1]),
        ("annotator_2", [2, 1]),
        ("annotator3", [1, 2]),
    ]


@pytest.mark.parametrize(
    ("winner", "expected"),
    [
        *((first, [1, 2]) for first in ("model_a", "A", "1", 1, "response_a", "Response 1", "assistant_a", "left")),
        *((second, [2, 1]) for second in ("model_b", "b", "2", 2, 2.0, "output_b", "B is better", "A<B")),
        *((tie, [1, 1]) for tie in ("tie", "Tie (bothbad)", "both", "equal", "neither", "A=B")),
    ],
)
def test_a_winner_in_one_column(winner: Any, expected: list[int]) -> None:
    row = {**WON, "winner": winner, "annotator": "ann", "system": "s"}
    assert detect([row], JUDGEMENTS, Path("f")).name == "pandalm"
    codes = {"1": "first", "2": "second"}  # by itself, the row does not settle numbers
    found = ranking_of("pandalm", row, codes=codes)
    assert found["prompt"] == said((S, "s"), (U, "q"))
    assert found["rankings"] == [{"annotator": "ann", "ranks": expected}]


def test_one_and_two_are_the_answers_where_both_occur_and_nothing_else() -> None:
    assert ranks(*BOTH) == [[1, 2], [2, 1]]
    assert ranks(*BOTH, {**WON, "winner": "tie"}) == [[1, 2], [2, 1], [1, 1]]


@pytest.mark.parametrize(
    "winners", [[0, 1], [0, 1, 2], [1, 2, 3], [1], [2], [0], list(range(1, 8)), [-3, 3], [1, 2, "a"], ["x", "y"]]
)
def test_codes_that_the_file_does_not_settle_are_refused(winners: list[Any]) -> None:
    rows = [{**WON, "preference": winner} for winner in winners]
    with pytest.raises(RequestError, match=r"column preference has the values .* for example: 'labeling\.codes=\{"):
        ranks(*rows)


def test_given_codes_settle_the_column_in_either_direction() -> None:
    rows = [{**WON, "preference": value} for value in (0, "1.0", 2)]
    assert ranks(*rows, codes={"0": "first", "1": "second", "2": "tie"}) == [[1, 2], [2, 1], [1, 1]]
    assert ranks(*rows, codes={"0": "tie", "1": "first", "2": "second"}) == [[1, 1], [1, 2], [2, 1]]


def test_one_person_who_never_says_2_does_not_change_what_1_means() -> None:
    rows = [{**ROW, "annotator1": 1, "annotator2": 1}, {**ROW, "annotator1": 1, "annotator2": 2}]
    assert ranks(*rows) == [[1, 2], [1, 2], [1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"model_a": "gpt", "model_b": "llama", "winner": "llama"}, [2, 1]),
        ({"model_a": "llama", "model_b": "gpt", "winner": "llama"}, [1, 2]),
        ({"winner": "response_b"}, [2, 1]),
        ({"chosen": "response_a"}, [1, 2]),
        ({"chosen": "b"}, [2, 1]),
        ({"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}, [1, 1]),
        ({"winner_model_a": "1", "winner_model_b": "0", "winner_tie": "0"}, [1, 2]),
    ],
)
def test_winners_that_are_named_in_the_row(row: dict[str, Any], expected: list[int]) -> None:
    assert ranks({**WON, **row}) == [expected]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"response1": "a", "response2": "b", "context": said((U, "q")), "overall_preference": -2}, [1, 2]),
        ({"response1": "a", "response2": "b", "context": said((U, "q")), "overall_preference": 1}, [2, 1]),
        ({"response1": "a", "response2": "b", "context": said((U, "q")), "overall_preference": 0}, [1, 1]),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 3}, [2, 1]),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1}, [2, 1]),
        (
            {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1},
            [1, 2],
        ),
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, [1, 2]),
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "score_A": 1, "score_B": 8}, [2, 1]),
    ],
)
def test_published_files_are_known_by_their_columns(row: dict[str, Any], expected: list[int]) -> None:
    assert detect([row], JUDGEMENTS, Path("f")).name == "pandalm"
    assert ranks(row) == [expected]


def test_the_same_judgement_has_the_same_id() -> None:
    row = {**WON, "winner": "tie"}
    assert ranking_of("pandalm", row)["id"] == ranking_of("pandalm", dict(row))["id"]
    assert ranking_of("pandalm", {**row, "id": "mine"})["id"] == "mine"
    assert ranking_of("pandalm", {**row, "question_id": 7.0})["id"] == "7"


def test_who_judged_under_any_usual_name() -> None:
    for name in ("annotator", "judge", "User", "worker_id", "LabelerID", "rater name"):
        assert ranking_of("pandalm", {**WON, "winner": "a", name: "ann"})["rankings"][0]["annotator"] == "ann"


def test_numbers_and_true_are_texts_too() -> None:
    row = {**WON, "response_a": True, "response_b": 3, "winner": "a"}
    assert ranking_of("pandalm", row)["responses"] == ["true", "3"]
    assert ranking_of("pandalm", {**row, "response_b": said((A, "b"))})["responses"] == ["true", "b"]


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({**WON, "winner": []}, None, "the verdict on the two"),
        ({**ROW, "annotator1": None}, None, "the verdict on the two"),
        ({**WON, "winner": ""}, None, "the verdict on the two"),
        ({**WON, "response_b": None, "winner": "a"}, "response_b", "the answer is missing"),
        ({"prompt": "q", "response_a": "a", "winner": 1}, None, "a column is missing"),
        ({**WON, "model_a": "m", "model_b": "m", "winner": "m"}, "winner", "both answers are by the model"),
        (
            {**WON, "winner_model_a": 1, "winner_model_b": 1},
            "winner_model_a + winner_model_b + winner_tie",
            "exactly one",
        ),
        (
            {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": 1, "score_B": 8},
            "labels",
            "the label and the scores disagree",
        ),
    ],
)
def test_faults_of_judgements_side_by_side(row: dict[str, Any], field: str | None, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        judged("pandalm", row)
    assert caught.value.field == field
    assert reason in caught.value.reason
