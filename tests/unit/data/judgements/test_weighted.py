"""Votes that count by the reliability of their annotators."""

from statistics import mean

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.annotators import ranked, right, team
from labeling.records import Ranking
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.judgements.weighted import MIN_PROBABILITY
from tests.unit.data.judgements.test_pooling import ranking, rankings, texts


def without_margin(given: list[Ranking], pool: str) -> list[tuple[str, str]]:
    return [texts(row) for row in preferences_from_rankings(given, pool).rows]  # type: ignore[arg-type]


@given(rankings())
def test_one_annotator_s_pairs_are_the_majority_s(row: Ranking) -> None:
    """No vote is shared, so all weights are equal: the same pairs and the same margins."""
    assume(len(set(row["responses"])) == len(row["responses"]))
    alone = {**row, "rankings": row["rankings"][:1]}
    majority, weighted = (preferences_from_rankings([alone], pool) for pool in ("majority", "weighted"))  # type: ignore[list-item]
    noise = [[one.pop("label_noise") for one in pooled.rows] for pooled in (weighted, majority)]  # type: ignore[misc]
    assert weighted.rows == majority.rows
    assert weighted.counts == majority.counts
    assert noise[0] == pytest.approx([1 / 3] * len(noise[0])) == noise[1]


@given(st.lists(rankings(), max_size=4))
def test_the_laws_of_pooling_hold(given_rankings: list[Ranking]) -> None:
    given_rankings = [{**row, "id": str(number)} for number, row in enumerate(given_rankings)]
    found = preferences_from_rankings(given_rankings, "weighted")
    assert len({frozenset(texts(row)) for row in found.rows}) == len(found.rows)
    assert all(0 < row["margin"] <= 1 for row in found.rows)
    assert all(0 <= row["label_noise"] <= 1 - MIN_PROBABILITY + 1e-12 for row in found.rows)
    majority = preferences_from_rankings(given_rankings).counts
    assert len(found.rows) + found.counts["ties"] == majority["pairs"] + majority["ties"]


def test_two_who_are_as_reliable_and_disagree_are_a_tie() -> None:
    given = [ranking(["a", "b"], [1, 2], [1, 2], name=f"{n}", prompt=f"{n}") for n in range(20)]
    given += [ranking(["a", "b"], [1, 2], [2, 1], name="open", prompt="open")]
    found = preferences_from_rankings(given, "weighted")
    assert (found.counts["pairs"], found.counts["ties"]) == (20, 1)


def test_one_reliable_vote_outweighs_two_of_guessers() -> None:
    """Three agree on 60 pairs that two others answer half each way; then one of them stands against these two."""
    given = []
    for number in range(60):
        coin, other = ([1, 2], [2, 1])[:: 1 if number % 2 else -1]
        given.append(ranking(["a", "b"], [1, 2], [1, 2], [1, 2], coin, other, name=f"{number}", prompt=f"{number}"))
    last = ranking(["a", "b"], [1, 2], name="last", prompt="last")
    last["rankings"] += [{"annotator": name, "ranks": [2, 1]} for name in ("annotator4", "annotator5")]
    assert without_margin([*given, last], "majority")[-1] == ("b", "a")
    assert without_margin([*given, last], "weighted")[-1] == ("a", "b")


def test_ties_of_reliable_annotators_leave_a_pair_tied() -> None:
    given = [ranking(["a", "b"], [1, 2], [1, 2], [1, 2], name=f"{n}", prompt=f"{n}") for n in range(20)]
    given += [ranking(["a", "b"], [1, 2], [1, 1], [1, 1], name="open", prompt="open")]
    found = preferences_from_rankings(given, "weighted")
    assert (found.counts["pairs"], found.counts["ties"]) == (20, 1)


@given(st.lists(rankings(), min_size=1, max_size=2), st.data())
def test_the_order_of_the_slots_does_not_matter(rows: list[Ranking], data: st.DataObject) -> None:
    rows = [{**row, "id": str(number)} for number, row in enumerate(rows)]
    slots = [data.draw(st.permutations(range(len(row["responses"])))) for row in rows]
    turned: list[Ranking] = [
        {
            **row,
            "responses": [row["responses"][slot] for slot in order],
            "rankings": [{**one, "ranks": [one["ranks"][slot] for slot in order]} for one in row["rankings"]],
        }
        for row, order in zip(rows, slots, strict=True)
    ]
    assert preferences_from_rankings(turned, "weighted") == preferences_from_rankings(rows, "weighted")


def test_answers_that_people_rank_in_a_circle_get_no_pairs_that_contradict_each_other() -> None:
    circle = ranking(["a", "b", "c"], [1, 2, 3], [3, 1, 2], [2, 3, 1])
    majority, weighted = (preferences_from_rankings([circle], pool) for pool in ("majority", "weighted"))  # type: ignore[arg-type]
    assert (majority.cycles, len(majority.rows)) == (1, 3)
    assert (weighted.cycles, len(weighted.rows)) == (0, 0)


def test_a_place_further_down_counts_more_than_the_next_one() -> None:
    """One ranks b last, the other a second: the vote on the pair is even, and the ranking is not."""
    given = [ranking(["a", "b", "c", "d"], [1, 2, 3, 4], [1, 2, 3, 4], name=f"{n}", prompt=f"{n}") for n in range(20)]
    given += [ranking(["a", "b", "c", "d"], [1, 4, 2, 3], [2, 1, 3, 4], name="open", prompt="open")]
    assert ("a", "b") in [
        texts(row) for row in preferences_from_rankings(given, "weighted").rows if row["group"] == "open"
    ]
    majority = [texts(row) for row in preferences_from_rankings(given).rows if row["group"] == "open"]
    assert not {("a", "b"), ("b", "a")} & {*majority}


def test_the_last_of_a_person_s_rankings_of_the_same_answers_counts() -> None:
    given = [ranking(["a", "b", "c"], [1, 2, 3], [1, 2, 3], name=f"{n}", prompt=f"{n}") for n in range(9)]
    before, after = (ranking(["a", "b", "c"], ranks, [1, 2, 3], name="new") for ranks in ([3, 2, 1], [1, 2, 3]))
    assert preferences_from_rankings([*given, before, after], "weighted").rows == (
        preferences_from_rankings([*given, after], "weighted").rows
    )


def test_with_two_of_five_at_random_more_pairs_are_right_and_where_all_are_honest_no_fewer() -> None:
    """Two seeds, which may differ by two pairs in a thousand; ten: `benchmarks/annotators.py`."""
    for people, gain in ((team(3, random=2), 0.04), (team(3, 1, 1), 0.1), (team(5), -0.002)):
        given = [ranked(people, 200, 4, seed) for seed in range(2)]
        majority, weighted, pairs = (
            [right(rows, pool) for rows in given] for pool in ("majority", "weighted", "weighted by single pairs")
        )
        for part in ("rows", "all"):
            assert mean(getattr(one, part) for one in weighted) >= mean(getattr(one, part) for one in majority) + gain
        assert mean(one.all for one in weighted) >= mean(one.all for one in pairs) - 0.002
        assert mean(one.expected for one in weighted) == pytest.approx(mean(one.rows for one in weighted), abs=0.05)
    assert mean(one.all for one in majority) > 0.85  # honest annotators
