import re
from itertools import combinations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.argilla.page import FIELDS, METADATA, checksum, record_of, side_by_side, to_html
from labeling.backend import Comparison, Queue
from labeling.guidelines import shipped
from labeling.questions import (
    LETTERS,
    options_of,
    question_of,
    question_settings,
    raw_values,
    read_values,
    responses_per_task,
    split_by_size,
)
from labeling.records import Task, compare


def task(id: str = "t", responses: int = 4) -> Task:
    return {
        "id": id,
        "prompt": [{"role": "user", "content": "Why?"}],
        "responses": [f"answer {n}" for n in range(responses)],
    }


@st.composite
def rankings(draw: st.DrawFn) -> list[int]:
    size = draw(st.integers(2, len(LETTERS)))
    return draw(st.lists(st.integers(1, size), min_size=size, max_size=size))


@pytest.mark.parametrize("question", get_args(Comparison))
@given(rankings())
def test_every_question_is_recognized_and_reverses_no_order(question: Comparison, ranks: list[int]) -> None:
    ranks = ranks[:2] if question == "pairwise" else ranks
    assert question_of(question_settings(question, len(ranks))) == (question, len(ranks))
    said = read_values(question, len(ranks), raw_values(question, ranks)).ranks
    assert said is not None
    assert len(said) == len(ranks)
    for first, second in combinations(range(len(ranks)), 2):
        assert compare(said, first, second) * compare(ranks, first, second) >= 0


@given(rankings(), st.text().map(str.strip))
def test_ranks_come_back_as_they_were_with_ties_and_gaps(ranks: list[int], comment: str) -> None:
    said = read_values("ranking", len(ranks), raw_values("ranking", ranks, comment))
    assert (said.ranks, said.comment) == (ranks, comment)


def test_ranks_are_read_from_beside_the_options_and_never_from_their_order() -> None:
    stored = [{"value": "C", "rank": 1}, {"value": "A", "rank": 3}, {"value": "B", "rank": 1}]
    assert read_values("ranking", 3, {"ranking": {"value": stored}}).ranks == [3, 1, 1]


def test_a_raw_ranking_has_the_shape_of_the_page() -> None:
    assert raw_values("ranking", [2, 1, 2]) == {
        "ranking": {"value": [{"value": "A", "rank": 2}, {"value": "B", "rank": 1}, {"value": "C", "rank": 2}]}
    }


@pytest.mark.parametrize(
    ("ranks", "both_bad", "outcome"),
    [([1, 2], False, "first"), ([3, 1], False, "second"), ([1, 1], False, "tie"), ([1, 1], True, "both_bad")],
)
def test_a_pair_has_four_outcomes(ranks: list[int], both_bad: bool, outcome: str) -> None:
    raw = raw_values("pairwise", ranks, both_bad=both_bad)
    assert raw == {"pairwise": {"value": outcome}}
    said = read_values("pairwise", 2, raw)
    assert said.ranks is not None
    assert compare(said.ranks, 0, 1) == compare(ranks, 0, 1)
    assert said.both_bad is both_bad


@given(rankings())
def test_five_stars_keep_the_order_of_five_ranks_and_reverse_none(ranks: list[int]) -> None:
    said = read_values("rating", len(ranks), raw_values("rating", ranks))
    assert said.ranks is not None
    assert said.ratings is not None
    assert all(1 <= stars <= 5 for stars in said.ratings)
    for first in range(len(ranks)):
        for second in range(len(ranks)):
            if len(set(ranks)) <= 5:
                assert compare(said.ranks, first, second) == compare(ranks, first, second)
            else:
                assert compare(said.ranks, first, second) in (0, compare(ranks, first, second))


def test_ratings_become_competition_ranks() -> None:
    raw = {f"rating_{letter}": {"value": stars} for letter, stars in zip("ABCD", [2, 5, 5, 1], strict=True)}
    said = read_values("rating", 4, raw)
    assert (said.ranks, said.ratings) == ([3, 1, 1, 4], [2, 5, 5, 1])


@pytest.mark.parametrize("raw", [None, {}, {"comment": {"value": "garbled"}}, {"ranking": None}])
def test_a_discarded_answer_has_a_reason_and_no_ranks(raw: dict[str, dict[str, str]] | None) -> None:
    said = read_values("ranking", 4, raw, discarded=True)
    assert (said.ranks, said.comment) == (None, "garbled" if raw and "comment" in raw else "")


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {"pairwise": {"value": "first"}},
        {"ranking": {"value": [{"value": "A", "rank": 1}]}},
        {"ranking": {"value": [{"value": "A", "rank": 1}, {"value": "B", "rank": None}]}},
        {"ranking": {"value": [{"value": "A", "rank": 0}, {"value": "B", "rank": 1}]}},
    ],
)
def test_a_submitted_answer_that_does_not_fit_the_question_is_refused(stored: dict[str, object] | None) -> None:
    with pytest.raises(ValueError, match="a submitted ranking of 2 responses has the values"):
        read_values("ranking", 2, stored)


def test_an_unknown_outcome_is_no_tie() -> None:
    with pytest.raises(ValueError, match="pairwise"):
        read_values("pairwise", 2, {"pairwise": {"value": "neither"}})


@pytest.mark.parametrize(("question", "size"), [("ranking", 2), ("ranking", 10), ("pairwise", 2), ("rating", 7)])
def test_a_datasets_questions_tell_what_was_asked(question, size) -> None:
    settings = question_settings(question, size)
    assert question_of(settings) == (question, size)
    assert question_of(list(reversed(settings))) == (question, size)
    assert sum(asked["required"] for asked in settings) == (size if question == "rating" else 1)


def test_questions_of_other_people_are_not_taken_for_ours() -> None:
    other = [{"name": "ranking", "settings": {"type": "ranking", "options": [{"value": "x"}, {"value": "y"}]}}]
    with pytest.raises(ValueError, match="not this project's questions: ranking"):
        question_of(other)
    assert options_of(other) != options_of(question_settings("ranking", 2))


def test_tasks_with_different_numbers_of_responses_get_queues_of_their_own() -> None:
    queue = Queue("round", [task("a", 4), task("b", 3), task("c", 4), task("d", 2)], overlap=2)
    parts = split_by_size(queue)
    assert [(part.name, [each["id"] for each in part.tasks], part.overlap) for part in parts] == [
        ("round", ["a", "c"], 2),
        ("round-of-3", ["b"], 2),
        ("round-of-2", ["d"], 2),
    ]
    assert split_by_size(parts[0]) == [parts[0]]


@pytest.mark.parametrize(("question", "size"), [("pairwise", 3), ("ranking", 1), ("ranking", 11), ("rating", 11)])
def test_responses_that_do_not_fit_a_question_are_refused(question, size) -> None:
    with pytest.raises(ValueError, match=f"the tasks have {size}"):
        responses_per_task(question, [task(responses=size)])


def test_foreign_html_is_shown_and_never_obeyed() -> None:
    hostile = (
        "<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) ![p](https://e.org/p.png)"
    )
    html = to_html(hostile)
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert '<a href="https://e.org/p.png">[picture: p]</a>' in html


@pytest.mark.parametrize(
    "text", ["", " \n", "one\n\ntwo", "```\na\n\n\nb\n```", "    code\n\n    more", "- a\n\n- b\n\n1. c"]
)
def test_what_is_shown_is_one_line_of_html_so_that_markdown_leaves_it_alone(text: str) -> None:
    html = to_html(text)
    assert html.startswith("<div>")
    assert "\n" not in html
    assert re.sub("<[^>]*>", "", html).strip()


def test_markdown_is_legible() -> None:
    html = to_html("**bold** `code`\n\n1. one\n\n| a |\n|---|\n| 1 |\n\n```python\nif x < 1:\n    pass\n```")
    for piece in ("<strong>bold</strong>", "<code>code</code>", "<ol>", "<table>", "if x &lt; 1:&#10;    pass"):
        assert piece in html


@pytest.mark.parametrize("depth", [1, 9, 10, 40, 48, 49, 50, 51, 300])
@pytest.mark.parametrize("mark", ["-", "1.", "- >"])
def test_lists_of_any_depth_are_shown_whole(depth: int, mark: str) -> None:
    lines = [" " * (len(mark) + 1) * level + f"{mark} level {level}." for level in range(depth)]
    html = to_html("\n".join([*lines, "", "the end"]))
    assert [level for level in range(depth) if f"level {level}." not in html] == []
    assert "the end" in html


def test_a_block_of_right_to_left_text_has_its_own_direction_and_other_text_is_unchanged() -> None:
    html = to_html("שלום\n\n- אחת\n- שתיים\n\nThen this.\n\n```\nx = 1\n```")
    for piece in ('<p dir="auto">שלום', '<ul dir="auto">', '<p dir="auto">Then this.', 'dir="ltr"><code'):
        assert piece in html
    assert "auto" not in to_html("Hello\n\n- one")


def test_responses_stand_side_by_side_in_the_shown_order_without_their_places_as_numbers() -> None:
    html = side_by_side(["last", "first", "middle"])
    assert "display:grid" in html
    assert html.index("Answer A") < html.index("last") < html.index("Answer B") < html.index("first")
    assert html.index("first") < html.index("Answer C") < html.index("middle")


def test_a_record_holds_the_task_and_a_checksum_that_annotators_do_not_see() -> None:
    record = record_of(task("t7"))
    assert record["external_id"] == "t7"
    assert set(record["fields"]) == {field["name"] for field in FIELDS}
    assert record["metadata"] == {"task": checksum(task("t7"))}
    assert not METADATA[0]["visible_for_annotators"]
    assert checksum(task("other id")) == checksum(task("t7"))
    swapped = task("t7")
    swapped["responses"] = swapped["responses"][::-1]
    assert checksum(swapped) != checksum(task("t7"))


def test_a_turn_too_long_for_argilla_is_refused_by_its_tasks_name() -> None:
    long = task("t9")
    long["prompt"] = [{"role": "user", "content": "x" * 20_001}]
    with pytest.raises(ValueError, match=r"task 't9': a turn of its prompt is longer than the 20,000"):
        record_of(long)


@pytest.mark.parametrize("question", get_args(Comparison))
def test_guidelines_ship_for_every_question_and_fit_into_argilla(question) -> None:
    text = shipped(question).read_text(encoding="utf-8")
    assert 1_000 < len(text) <= 10_000
    for word in ("discard", "comment", "Equally good", "bad"):
        assert word.lower() in text.lower()
