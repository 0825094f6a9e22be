"""Deduplication: duplicates are dropped once, no row similar to a test row is learned, groups stay together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.deduplication.decisions import (
    CONFLICT,
    DUPLICATE,
    KEPT,
    NEAR,
    OVERLAP,
    Decisions,
    decide,
    draw_counts,
    stable_group_names,
)
from pipeline.data.row_cleaning import fingerprints
from pipeline.data.rows import Demonstration, Message

LONG = "the kettle in the kitchen hisses and drips since monday although nobody has touched its valve or lid " * 3


def row(question: str, answer: str, **more: str) -> Demonstration:
    messages = [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return Demonstration(messages=messages, **more)  # type: ignore[typeddict-item]


def judged(
    rows: list[Demonstration], tested: int = 0, drop_near: bool = True, conflicts: str = "keep", threshold: float = 0.8
) -> Decisions:
    columns = fingerprints(rows, np.empty(0, dtype=np.uint64))
    marks = np.arange(len(rows)) < tested
    column: Callable[[str], np.ndarray[Any, Any]] = columns.__getitem__
    return decide(column, marks, threshold=threshold, drop_near=drop_near, conflicts=conflicts)


def test_the_first_of_equal_rows_stays() -> None:
    found = judged([row("a", "b"), row("c", "d"), row("a ", "b"), row("a", "b")])
    assert list(found.outcome) == [KEPT, KEPT, DUPLICATE, DUPLICATE]
    assert list(found.kept_instead) == [0, 1, 0, 0]


def test_near_duplicates_go_unless_they_are_kept_and_stay_together_either_way() -> None:
    rows = [row("why?", LONG), row("how?", "something else"), row("why?", LONG + "now")]
    assert list(judged(rows).outcome) == [KEPT, KEPT, NEAR]
    kept = judged(rows, drop_near=False)
    assert list(kept.outcome) == [KEPT] * 3
    assert kept.group[0] == kept.group[2] != kept.group[1]


def test_equal_prompts_conversations_and_nearly_equal_prompts_hang_together() -> None:
    rows = [
        row("a", "1"),
        row("a", "2"),
        row(LONG, "something", id="x"),
        row(LONG + "and more", "different altogether"),
        row("part two", "of a conversation", id="x"),
        row("alone", "here", id="y"),
    ]
    group = judged(rows).group
    assert group[0] == group[1]
    assert group[2] == group[3] == group[4]
    assert len(set(group)) == 3


def test_a_name_that_all_rows_share_is_no_conversation() -> None:
    rows = [row(f"question {n}", f"answer {n}", id="0") for n in range(150)]
    assert len(set(judged(rows).group)) == 150


def test_nothing_like_a_tested_row_is_learned() -> None:
    rows = [
        row("tested", "answer"),
        row(LONG, "yes"),
        row("tested", "answer"),
        row("tested", "another answer"),
        row(LONG + "or so", "no"),
        row("apart", "kept"),
    ]
    assert list(judged(rows, tested=2).outcome) == [KEPT, KEPT, OVERLAP, OVERLAP, OVERLAP, KEPT]


@pytest.mark.parametrize(
    ("conflicts", "fates", "contested"),
    [
        ("keep", [KEPT, KEPT, KEPT], [True, True, False]),
        ("first", [KEPT, CONFLICT, KEPT], [True, False, False]),
        ("drop", [CONFLICT, CONFLICT, KEPT], [False, False, False]),
    ],
)
def test_other_answers_to_one_prompt(conflicts: str, fates: list[int], contested: list[bool]) -> None:
    found = judged([row("a", "1"), row("a", "2"), row("b", "1")], conflicts=conflicts)
    assert list(found.outcome) == fates
    assert list(found.contested) == contested


sayings = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=12)


@given(sayings, st.integers(0, 3))
def test_no_group_of_a_kept_row_holds_a_tested_one(said: list[tuple[str, str]], tested: int) -> None:
    found = judged([row(*one) for one in said], tested=tested)
    held = {found.group[i] for i in range(min(tested, len(said)))}
    learned = [i for i in range(tested, len(said)) if found.outcome[i] == KEPT]
    assert all(found.group[i] not in held for i in learned)
    seen = [(said[i]) for i in range(len(said)) if found.outcome[i] == KEPT]
    assert len(set(seen)) == len(seen)


def test_a_weight_sets_how_often_a_row_is_drawn_in_any_order() -> None:
    content = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    drawn = draw_counts(content, np.full(len(content), 2.25), seed=0)
    assert set(drawn) == {2, 3}
    assert drawn.mean() == pytest.approx(2.25, abs=0.02)
    assert list(draw_counts(content[::-1], np.full(len(content), 2.25), seed=0)) == list(drawn[::-1])
    assert list(draw_counts(content, np.full(len(content), 2.25), seed=1)) != list(drawn)
    assert set(draw_counts(content, np.ones(len(content)), seed=0)) == {1}


def test_names_of_groups_do_not_depend_on_the_order_of_rows() -> None:
    content = np.array([5, 3, 9, 7], dtype=np.uint64)
    group = np.array([1, 0, 1, 0])
    numbered, names = stable_group_names(group, content)
    assert [names[g] for g in numbered] == [5, 3, 5, 3]
    assert stable_group_names(group[:0], content[:0])[1] == []
