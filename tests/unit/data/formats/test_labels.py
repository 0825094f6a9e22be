"""Marked answers: read as demonstrations or as judgements, and grouped by prompt."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.votes import pool
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.detection import detect
from pipeline.data.formats.judgement import Marked
from pipeline.data.formats.labels import group_marks
from pipeline.data.formats.table import DEMONSTRATIONS
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.errors import RequestError
from tests.unit.data.raw_rows import A, U, demonstration, judged, mark_of, said

ROW = {"prompt": "q", "completion": "a", "label": True}
GOOD, BAD = {**ROW, "label": 1}, {**ROW, "label": 0}


def mark(prompt: str, response: str, good: float, annotator: str | None = None) -> Marked:
    return Marked(said((U, prompt)), response, float(good), annotator)


@pytest.mark.parametrize(
    "up", [True, 1, 1.0, "1", "true", "True", "UP", "thumbs up", "thumb_up", "good", "👍", "👍🏽", "+1", "desirable"]
)
def test_marks_of_good_answers(up: Any) -> None:
    assert demonstration("kto", {**ROW, "label": up})["messages"] == said((U, "q"), (A, "a"))
    assert mark_of("kto", {**ROW, "label": up, "user": "ann"}, GOOD, BAD) == mark("q", "a", True, "ann")


@pytest.mark.parametrize(
    "down", [False, 0, 0.0, "0", "false", "down", "thumbs_down", "bad", "👎", "👎\ufe0f", "not helpful", "rejected"]
)
def test_marks_of_bad_answers(down: Any) -> None:
    with pytest.raises(LeftOut, match="the answer was marked as bad"):
        demonstration("kto", {**ROW, "label": down})
    assert mark_of("kto", {**ROW, "label": down}, GOOD, BAD).score == 0


@pytest.mark.parametrize("name", ["label", "kto_tag", "desirable", "KTO_Tag"])
def test_whole_conversations_are_marked_as_answers_are(name: str) -> None:
    row = {"messages": said((U, "q"), (A, "a")), name: True}
    assert demonstration("kto", row)["messages"] == row["messages"]
    assert judged("kto", row) == [mark("q", "a", True)]
    with pytest.raises(LeftOut):
        demonstration("kto", {**row, name: False})
    assert mark_of("kto", {**row, name: False}).score == 0
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert judged("kto", {"conversations": turns, name: True}) == [mark("q", "a", True)]
    assert detect([{"conversations": turns, name: False}], DEMONSTRATIONS, Path("f")).name == "kto"


@pytest.mark.parametrize("labels", [[2], [1], [0], [1, 2, 3], ["maybe"], [0, 1, 2]])
def test_labels_that_do_not_settle_what_they_mean_refuse_the_file(labels: list[Any]) -> None:
    with pytest.raises(RequestError, match=r"column label has the values .* for example: 'labeling\.codes=\{"):
        judged("kto", *({**ROW, "label": label} for label in labels))


def test_given_codes_settle_labels() -> None:
    assert mark_of("kto", {**ROW, "label": 2}, codes={"2": "bad"}).score == 0
    assert mark_of("kto", {**ROW, "label": 2.0}, codes={"2": "good"}).score == 1


@pytest.mark.parametrize("label", [[], {}])
def test_other_labels_are_refused(label: Any) -> None:
    with pytest.raises(BadRow, match="a mark is expected"):
        judged("kto", {**ROW, "label": label})
    for nothing in (None, " "):
        with pytest.raises(BadRow, match="neither as good nor as bad"):
            demonstration("kto", {**ROW, "label": nothing})


def test_a_completion_of_two_turns_is_refused() -> None:
    with pytest.raises(BadRow, match="one turn of the assistant is expected"):
        judged("kto", {**ROW, "completion": said((A, "a"), (U, "q"))})


def grouped(*marks: Marked) -> tuple[list[tuple[Any, ...]], list[tuple[int, str | None]]]:
    found = group_marks(list(enumerate(marks)))
    votes = [(vote.annotator, *zip(vote.responses, vote.ranks or (), strict=True)) for vote, _ in found.votes]
    return votes, [(place, cause) for place, _, cause in found.left_out]


def test_a_person_who_marked_two_answers_has_a_vote() -> None:
    marks = [
        mark("q", "good", 1, "ann"),
        mark("other", "x", 1),
        mark("q", "bad", 0, "Ann"),
        mark("q ", "fine", 1, "ann"),
    ]
    assert grouped(*marks) == ([("ann", ("good", 1), ("bad", 3), ("fine", 1))], [(1, None)])


def test_each_named_person_has_a_vote_of_their_own() -> None:
    marks = [mark("q", text, good, name) for name in "ab" for text, good in (("x", name == "a"), ("y", name == "b"))]
    assert grouped(*marks)[0] == [("a", ("x", 1), ("y", 2)), ("b", ("x", 2), ("y", 1))]


def test_what_several_people_marked_is_everybodys() -> None:
    assert grouped(mark("q", "a", 1, "ann"), mark("q", "b", 0, "bob"))[0] == [("label", ("a", 1), ("b", 2))]


def test_unnamed_marks_count_each_and_their_mean_decides() -> None:
    """5 up and 1 down beat 1 up and 5 down, whichever came first."""
    up, down = (
        [mark("q", "a", good) for good in (1, 1, 1, 1, 1, 0)],
        [mark("q", "b", good) for good in (1, 0, 0, 0, 0, 0)],
    )
    assert grouped(*up, *down) == ([("label", ("a", 1), ("b", 2))], [])
    assert grouped(*down, *up)[0] == [("label", ("b", 2), ("a", 1))]
    tied = [mark("q", text, good) for text in "ab" for good in (1, 0)]
    assert grouped(*tied)[0] == [("label", ("a", 1), ("b", 1))]


def test_a_second_mark_by_the_same_person_counts_instead_of_the_first() -> None:
    first, second, other = mark("q", "a", 1, "ann"), mark("q", " A", 0, "ann "), mark("q", "b", 1, "ann")
    votes, out = grouped(first, other, second)
    assert [ranks for _, *ranks in votes] == [[(" A", 2), ("b", 1)]]
    assert out == [(0, "superseded")]
    assert grouped(first, first, other)[1] == [(0, "duplicate")]


def test_scores_are_ranked_from_the_highest() -> None:
    votes = {grouped(*several)[0][0][1:] for several in permutations([mark("q", "a", 1), mark("q", "b", 5)])}
    assert {tuple(sorted(vote)) for vote in votes} == {(("a", 2), ("b", 1))}


marks = st.lists(st.builds(mark, st.sampled_from("pqr"), st.sampled_from("abc"), st.booleans()), max_size=12)


@given(marks)
def test_each_mark_is_in_one_vote_or_unpaired(singles: list[Marked]) -> None:
    found = group_marks(list(enumerate(singles)))
    assert sorted(
        [place for _, places in found.votes for place in places] + [one[0] for one in found.left_out]
    ) == list(range(len(singles)))
    preferences = preferences_from_rankings(pool(vote for vote, _ in found.votes).rankings)
    assert preferences.counts["pairs"] + preferences.counts["ties"] >= len(found.votes)


@given(marks)
def test_turning_every_mark_turns_every_pair(singles: list[Marked]) -> None:
    def pairs(several: list[Marked]) -> set[tuple[str, str, str]]:
        votes = [vote for vote, _ in group_marks(list(enumerate(several))).votes]
        rows = preferences_from_rankings(pool(votes).rankings).rows
        return {
            (row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows
        }

    turned = [Marked(one.prompt, one.response, 1 - one.score) for one in singles]
    assert pairs(turned) == {(prompt, rejected, chosen) for prompt, chosen, rejected in pairs(singles)}
