"""Logs of a model in use: edits and thumbs, as demonstrations and as judgements."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.detection import detect
from pipeline.data.formats.logs import judged_log, log
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS
from tests.unit.raw_rows import A, S, U, demonstration, said

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
        ({**LOGGED, "rating": 5}, "prompt_completion"),
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
    assert judged_log(row) == [
        {
            "id": "7",
            "prompt": said((S, "s"), (U, "q")),
            "responses": ["b", "a"],
            "rankings": [{"annotator": "ann", "ranks": [1, 2]}],
        }
    ]


def test_a_thumb_up_stands_for_the_answer() -> None:
    row = {**LOGGED, "thumb": "up", "feedback": "very good, thanks", "user": "ann"}
    assert demonstration("log", row) == {"messages": said((U, "q"), (A, "a"))}
    assert judged_log(row) == [{"prompt": said((U, "q")), "response": "a", "good": True, "annotator": "ann"}]


@pytest.mark.parametrize(
    ("judged", "reason"),
    [
        ({"thumb": "down"}, "the answer was marked as bad"),
        ({"thumb": None, "edit": ""}, "neither corrected nor marked"),
        ({}, "neither corrected nor marked"),
    ],
)
def test_what_nobody_vouched_for_is_left_out(judged: dict[str, Any], reason: str) -> None:
    with pytest.raises(LeftOut, match=reason):
        log({**LOGGED, **judged})


def test_an_edit_that_changes_nothing_is_no_judgement() -> None:
    row = {**LOGGED, "edit": " a "}
    with pytest.raises(LeftOut, match="neither corrected nor marked"):
        judged_log(row)
    assert judged_log({**row, "thumb": "down"})[0]["good"] is False  # type: ignore[typeddict-item]
    assert demonstration("log", row)["messages"][-1]["content"] == " a "


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({**LOGGED, "thumb": "up", "rating": 0}, "thumb + rating", "the thumbs disagree"),
        ({**LOGGED, "thumb": "sideways"}, "thumb", "must be up or down"),
        ({**LOGGED, "output": "b", "thumb": "up"}, "response or output", "keep one"),
        ({**LOGGED, "edit": "b", "correction": "c"}, "edit or correction", "keep one"),
        ({"prompt": "q", "thumb": "up"}, None, "a column is missing"),
        ({"messages": said((U, "q")), "thumb": "up"}, "messages", "there is no answer"),
    ],
)
def test_faults_of_logs(row: dict[str, Any], field: str | None, reason: str) -> None:
    for convert in (log, judged_log):
        with pytest.raises(BadRow) as caught:
            convert(row)
        assert caught.value.field == field
        assert reason in caught.value.reason
