"""Answers that somebody marked: read as demonstrations or as judgements, and grouped by prompt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.labels import Single, group_singles, kto, kto_single, thumb_in
from pipeline.data.preferences import preferences_from_rankings
from tests.unit.raw_rows import A, U, demonstration, said

ROW = {"prompt": "q", "completion": "a", "label": True}


def single(prompt: str, response: str, good: bool, annotator: str = "label") -> Single:
    return Single(prompt=said((U, prompt)), response=response, good=good, annotator=annotator)


@pytest.mark.parametrize(
    "up", [True, 1, 1.0, "1", "true", "True", "UP", "thumbs up", "thumb_up", "good", "👍", "👍🏽", "+1"]
)
def test_thumbs_up(up: Any) -> None:
    assert thumb_in(up, "label") is True
    assert demonstration("kto", {**ROW, "label": up})["messages"] == said((U, "q"), (A, "a"))
    assert kto_single({**ROW, "label": up, "user": "ann"}) == [single("q", "a", True, "ann")]


@pytest.mark.parametrize(
    "down", [False, 0, -1, 0.0, -1.0, "0", "-1", "false", "down", "thumbs_down", "bad", "👎", "👎\ufe0f"]
)
def test_thumbs_down(down: Any) -> None:
    assert thumb_in(down, "label") is False
    with pytest.raises(LeftOut, match="the answer was marked as bad"):
        kto({**ROW, "label": down})
    assert kto_single({**ROW, "label": down})[0]["good"] is False


@pytest.mark.parametrize("label", [2, "maybe", [], 0.5, {}])
def test_other_labels_are_refused(label: Any) -> None:
    with pytest.raises(BadRow, match="a thumb must be up or down"):
        kto_single({**ROW, "label": label})
    for nothing in (None, " "):
        with pytest.raises(BadRow, match="neither as good nor as bad"):
            kto({**ROW, "label": nothing})


def test_a_completion_of_two_turns_is_refused() -> None:
    with pytest.raises(BadRow, match="one turn of the assistant is expected"):
        kto_single({**ROW, "completion": said((A, "a"), (U, "q"))})


def test_a_prompt_with_both_labels_becomes_a_ranking() -> None:
    singles = [
        single("q", "good", True, "ann"),
        single("other", "x", True),
        single("q", "bad", False, "ann"),
        single("q ", "fine", True, "ann"),
        single("same", "x", True),
        single("same", "x", False),
    ]
    (ranking,), unpaired = group_singles(singles)
    assert ranking["prompt"] == said((U, "q"))
    assert ranking["responses"] == ["good", "bad", "fine"]
    assert ranking["rankings"] == [{"annotator": "ann", "ranks": [1, 2, 1]}]
    assert unpaired == [1, 4, 5]


def test_what_several_people_marked_is_everybodys() -> None:
    (ranking,), _ = group_singles([single("q", "a", True, "ann"), single("q", "b", False, "bob")])
    assert ranking["rankings"][0]["annotator"] == "label"


marks = st.lists(st.builds(single, st.sampled_from("pqr"), st.sampled_from("abc"), st.booleans()), max_size=12)


@given(marks)
def test_each_mark_is_in_one_ranking_or_unpaired(singles: list[Single]) -> None:
    rankings, unpaired = group_singles(singles)
    assert sum(len(ranking["responses"]) for ranking in rankings) + len(unpaired) == len(singles)
    lonely = {singles[position]["prompt"][0]["content"] for position in unpaired}
    assert lonely.isdisjoint(ranking["prompt"][0]["content"] for ranking in rankings)  # type: ignore[index]
    found = preferences_from_rankings(rankings)
    assert found.counts["pairs"] + found.counts["ties"] >= len(rankings)
