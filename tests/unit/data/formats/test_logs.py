"""Logs of a model in use: edits and thumbs, as demonstrations and as judgements."""

from pathlib import Path
from typing import Any

import pytest

from labeling.votes import Vote
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.detection import detect
from pipeline.data.formats.judgement import Marked
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS
from pipeline.errors import RequestError
from tests.unit.data.raw_rows import A, S, U, demonstration, judged, mark_of, said

LOGGED: dict[str, Any] = {"prompt": "q", "response": "a"}


@pytest.mark.parametrize(
    "row",
    [
        {**LOGGED, "edited_response": "b"},
        {**LOGGED, "feedback": "up"},
        {**LOGGED, "feedback": None, "correction": None},
        {"input": "q", "model_output": "a", "thumbs": -1},
        {"instruction": "i", "input": "about", "output": "a", "rating": "👎"},
        {"messages": said((U, "q")), "completion": "a", "final_response": "b"},
        {"messages": said((U, "q"), (A, "a")), "thumb": True},
        {"prompt": "q", "completion": "a", "label": True, "human_edit": "b"},
    ],
)
def test_logs_are_told_from_other_formats(row: dict[str, Any]) -> None:
    assert detect([row], DEMONSTRATIONS, Path("f")).name == "log"
    assert detect([row], JUDGEMENTS, Path("f")).name == "log"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (LOGGED, "prompt_completion"),
        ({**LOGGED, "status": "published"}, "prompt_completion"),
        ({**LOGGED, "feedback": "Too long."}, "prompt_completion"),
        ({"prompt": "q", "completion": "a", "label": False}, "kto"),
    ],
)
def test_other_formats_are_told_from_logs(row: dict[str, Any], name: str) -> None:
    assert detect([row], DEMONSTRATIONS, Path("f")).name == name


def test_an_edit_comes_before_the_answer() -> None:
    row = {**LOGGED, "id": "7", "system": "s", "edited_response": "b", "thumb": "down", "user": "ann"}
    assert demonstration("log", row) == {
        "id": "7",
        "corrected_by": "ann",
        "messages": said((S, "s"), (U, "q"), (A, "b")),
    }
    assert judged("log", row) == [Vote(None, said((S, "s"), (U, "q")), ["b", "a"], [1, 2], "ann", "7")]


def test_a_thumb_up_stands_for_the_answer() -> None:
    row = {**LOGGED, "thumb": "up", "feedback": "very good, thanks", "user": "ann"}
    assert demonstration("log", row) == {"messages": said((U, "q"), (A, "a"))}
    assert judged("log", row) == [Marked(said((U, "q")), "a", 1.0, "ann")]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ({"thumb": "down"}, "the answer was marked as bad"),
        ({"thumb": None, "edit": ""}, "neither corrected nor marked"),
        ({}, "neither corrected nor marked"),
    ],
)
def test_answers_without_a_good_mark_are_left_out(mark: dict[str, Any], reason: str) -> None:
    with pytest.raises(LeftOut, match=reason):
        demonstration("log", {**LOGGED, **mark})


def test_an_edit_that_changes_nothing_is_no_judgement() -> None:
    row = {**LOGGED, "edit": " a "}
    with pytest.raises(LeftOut, match="neither corrected nor marked"):
        judged("log", row)
    assert mark_of("log", {**row, "thumb": "down"}).score == 0
    assert demonstration("log", row)["messages"][-1]["content"] == " a "


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({**LOGGED, "thumb": "up", "rating": "bad"}, "thumb + rating", "the marks disagree"),
        ({**LOGGED, "thumb": []}, "thumb", "a mark is expected"),
        ({**LOGGED, "output": "b", "thumb": "up"}, "response or output", "keep one"),
        ({**LOGGED, "edit": "b", "correction": "c"}, "edit or correction", "keep one"),
        ({"prompt": "q", "thumb": "up"}, None, "a column is missing"),
        ({"messages": said((U, "q")), "thumb": "up"}, "messages", "the answer is missing"),
    ],
)
def test_faults_of_logs(row: dict[str, Any], field: str | None, reason: str) -> None:
    for convert in (demonstration, judged):
        with pytest.raises(BadRow) as caught:
            convert("log", row)
        assert caught.value.field == field
        assert reason in caught.value.reason


def test_stars_are_scores_of_judgements_and_asked_for_in_demonstrations() -> None:
    rows = [{**LOGGED, "rating": stars} for stars in (1, 5, 3)]
    assert [mark.score for mark in judged("log", *rows)] == [1, 5, 3]  # type: ignore[union-attr]
    with pytest.raises(RequestError, match=r"column rating has the values '5' .* 'data\.codes=\{5: good\}'"):
        demonstration("log", rows[1])


def test_a_comment_beside_an_edit_is_no_mark() -> None:
    row = {**LOGGED, "edited_response": "b", "feedback": "Too long."}
    assert demonstration("log", row)["messages"] == said((U, "q"), (A, "b"))
    (vote,) = judged("log", row)
    assert isinstance(vote, Vote)
    assert (vote.responses, vote.ranks) == (["b", "a"], [1, 2])


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("status", "accepted", "rejected"),
        ("review", "Approved", "disapproved"),
        ("thumbs_up", True, False),
        ("thumbs_down", False, True),
        ("is_bad", False, True),
        ("rating", "👍", "👎"),
        ("any name", "thumbs_up", "thumbs-down"),
    ],
)
def test_a_judgement_in_a_column_of_any_name_keeps_bad_answers_out(column: str, good: Any, bad: Any) -> None:
    for row in (LOGGED, {"messages": said((U, "q"), (A, "a"))}, {"instruction": "q", "output": "a"}):
        judging = {**row, column: bad}
        assert (
            detect([judging], DEMONSTRATIONS, Path("f")).name == detect([judging], JUDGEMENTS, Path("f")).name == "log"
        )
        assert demonstration("log", {**row, column: good})["messages"] == said((U, "q"), (A, "a"))
        with pytest.raises(LeftOut, match="the answer was marked as bad"):
            demonstration("log", judging)
        assert [mark_of("log", {**row, column: value}).score for value in (good, bad)] == [1, 0]


def test_ratings_in_other_words_are_asked_for() -> None:
    with pytest.raises(RequestError, match=r"column rating has the values '5 stars'"):
        demonstration("log", {**LOGGED, "rating": "5 stars"})
    marks = judged("log", *({**LOGGED, "rating": f"{n} stars"} for n in (1, 5)), codes={"1 stars": "1", "5 stars": "5"})
    assert [mark.score for mark in marks] == [1, 5]  # type: ignore[union-attr]
