"""How many opinions a task needs: the server, the client and the simulated annotators decide by one rule."""

from collections import Counter
from itertools import combinations
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labeling.backend import AnnotatorAnswer, Comparison, Queue, Round, answers_needed, progress
from labeling.overlap import Overlap, overlap_of
from labeling.questions import raw_values, read_values, split_by_size
from labeling.records import Task, stable_random
from labeling.rounds import complete_only
from labeling.server.inside.opinions import are_settled, is_complete, ranks_in
from labeling.simulated import SimulatedAnnotator, annotate

RANKS = st.integers(2, 5).flatmap(
    lambda size: st.lists(st.lists(st.integers(1, size), min_size=size, max_size=size), max_size=5)
)


def majority_is_missing(opinions: list[list[int]]) -> bool:
    """By counting the votes on each pair of responses."""
    for first, second in combinations(range(len(opinions[0]) if opinions else 0), 2):
        votes = Counter((ranks[first] > ranks[second]) - (ranks[first] < ranks[second]) for ranks in opinions)
        if votes[1] == votes[-1] > 0:
            return True
    return False


@given(RANKS)
def test_opinions_are_settled_where_every_pair_with_a_vote_has_a_majority(opinions: list[list[int]]) -> None:
    assert are_settled(opinions) != majority_is_missing(opinions)


@pytest.mark.parametrize(
    ("opinions", "settled"),
    [
        ([[1, 2], [1, 2]], True),
        ([[1, 2], [2, 1]], False),
        ([[1, 2], [1, 1]], True),  # a tie is no vote: one to none
        ([[1, 1], [1, 1]], True),
        ([[1, 2, 3], [1, 3, 2]], False),  # about the last two
        ([[1, 2], [2, 1], [1, 2]], True),
        ([[1, 2], [2, 1], [1, 1]], False),
    ],
)
def test_cases(opinions: list[list[int]], settled: bool) -> None:
    assert are_settled(opinions) == settled


@pytest.mark.parametrize("question", get_args(Comparison))
@given(RANKS)
@example([[1, 2], [2, 1]])
def test_the_server_reads_the_same_order_from_the_page_s_values_as_the_client(
    question: Comparison, opinions: list[list[int]]
) -> None:
    if question == "pairwise":
        opinions = [ranks[:2] for ranks in opinions]
    raw = [raw_values(question, ranks, comment="why") for ranks in opinions]
    read = [read_values(question, len(ranks), values).ranks for ranks, values in zip(opinions, raw, strict=True)]
    assert are_settled([ranks_in(values) for values in raw]) == are_settled([ranks or [] for ranks in read])
    for least, most in ((1, None), (2, None), (2, 3), (2, 4), (3, 4)):
        closed = is_complete(raw, least, most)
        assert closed == (len(raw) >= least and (most is None or len(raw) >= most or not majority_is_missing(read)))  # type: ignore[arg-type]


def task(name: str, size: int = 2) -> Task:
    return {"id": name, "prompt": [{"role": "user", "content": "?"}], "responses": [str(k) for k in range(size)]}


def answer(name: str, annotator: str, ranks: list[int] | None) -> AnnotatorAnswer:
    status = "submitted" if ranks else "discarded"
    return {"task": name, "annotator": annotator, "status": status, "ranks": ranks, "comment": ""}  # type: ignore[typeddict-item]


def test_progress_asks_for_a_third_opinion_only_where_two_disagree_and_for_no_fifth() -> None:
    asked = Round("w", "ranking", "g", [Queue("q", [task(name) for name in "abcde"], 2, 4)])
    one, other = [1, 2], [2, 1]
    given = {"a": [one, one], "b": [one, other], "c": [one, other, one], "d": [one, other, one, other], "e": [one]}
    answers = [answer(name, f"p{n}", ranks) for name, all_ in given.items() for n, ranks in enumerate(all_)]
    assert answers_needed(asked, answers) == {"a": 2, "b": 3, "c": 2, "d": 4, "e": 2}
    so_far = progress(asked, answers)
    assert (so_far.complete, so_far.tasks, so_far.wanted) == (3, 5, 13)
    assert {one["task"] for one in complete_only(answers, answers_needed(asked, answers))} == {"a", "c", "d"}


def test_parts_of_a_queue_keep_the_range() -> None:
    parts = split_by_size(Queue("q", [task("a"), task("b", 3)], 2, 4))
    assert {(part.overlap, part.most) for part in parts} == {(2, 4)}


def test_simulated_annotators_go_on_until_a_majority_exists_and_the_others_stay_as_they_were() -> None:
    tasks = [task(f"t{number}", 3) for number in range(200)]
    people = [SimulatedAnnotator(f"s{number}", noise=1.0, tie_width=0.4) for number in range(5)]

    def quality(prompt: object, response: str) -> float:
        return float(response) / 2

    two = annotate(tasks, people, 2, 0, quality)
    more = annotate(tasks, people, 2, 0, quality, most=4)
    counts = Counter(len(row["rankings"]) for row in more)
    assert set(counts) == {2, 3, 4}
    for before, after in zip(two, more, strict=True):
        ranks = [one["ranks"] for one in after["rankings"]]
        assert are_settled(ranks) or len(ranks) == 4
        assert all(one in after["rankings"] for one in before["rankings"])
        if are_settled([one["ranks"] for one in before["rankings"]]):
            assert after == before


def test_a_third_opinion_where_two_disagree_is_worth_more_than_the_same_number_at_random() -> None:
    """The reason for the range: right majorities at equal spend, on pairs."""
    tasks = [task(f"t{number}") for number in range(3000)]
    people = [SimulatedAnnotator(f"s{number}", noise=0.8) for number in range(5)]

    def quality(prompt: object, response: str) -> float:
        return float(response)

    def right(rows: list) -> float:  # type: ignore[type-arg]
        votes = [sum(1 if one["ranks"][1] < one["ranks"][0] else -1 for one in row["rankings"]) for row in rows]
        return sum((vote > 0) + 0.5 * (vote == 0) for vote in votes) / len(votes)

    adaptive = annotate(tasks, people, 2, 0, quality, most=3)
    spent = sum(len(row["rankings"]) for row in adaptive)
    draw = stable_random("third").sample(tasks, spent - 2 * len(tasks))
    third = {one["id"] for one in draw}
    even = annotate([one for one in tasks if one["id"] in third], people, 3, 0, quality)
    even += annotate([one for one in tasks if one["id"] not in third], people, 2, 0, quality)
    assert sum(len(row["rankings"]) for row in even) == spent
    assert right(adaptive) > right(even) + 0.02


@pytest.mark.parametrize(
    ("value", "overlap"), [(2, Overlap(2)), ("3", Overlap(3)), ("2..4", Overlap(2, 4)), ("3..10", Overlap(3, 10))]
)
def test_overlaps_are_a_number_or_a_range(value: int | str, overlap: Overlap) -> None:
    assert overlap_of(value) == overlap
    assert overlap_of(str(overlap)) == overlap


@pytest.mark.parametrize("value", ["", "2..", "..4", "2...4", "4..2", "2..2", "1..3", "0", "-1", "2.5", "two", "2..4 "])
def test_other_overlaps_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"range|at least 1"):
        overlap_of(value)
