"""The shapes in which people have rankings: each is read correctly, and a change of meaning changes the result.

Each shape writes the same votes; what is read must be these votes, pooled. Then one meaning at a time is changed (a
rank, a tie, a name, the order of the responses), and what is read must change with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.agreement import agreement_metrics
from labeling.exchange import read
from labeling.votes import Vote, normalized_text, pool, prompt_key
from tests.unit.data.judgements.pair_shapes import PAIR_SHAPES
from tests.unit.data.judgements.ranking_shapes import LONG_SHAPES, Shape, label_studio_copied, votes


def meaning(rankings) -> dict:
    """prompt and responses -> person -> response -> rank, independent of order."""
    return {
        (prompt_key(one["prompt"]), frozenset(map(normalized_text, one["responses"]))): {
            row["annotator"].removeprefix("annotator"): dict(
                zip(map(normalized_text, one["responses"]), row["ranks"], strict=True)
            )
            for row in one["rankings"]
        }
        for one in rankings
    }


def swapped_ranks(rows: list[Vote]) -> list[Vote]:
    first, second, *rest = rows[4].ranks or ()
    return [*rows[:4], replace(rows[4], ranks=[second, first, *rest]), *rows[5:]]


def tied(rows: list[Vote]) -> list[Vote]:
    ranks = [2 if rank == 1 else rank for rank in rows[7].ranks or ()]
    return [*rows[:7], replace(rows[7], ranks=[rank - 1 for rank in ranks]), *rows[8:]]


def renamed(rows: list[Vote]) -> list[Vote]:
    return [*rows[:2], replace(rows[2], annotator="dan"), *rows[3:]]


def turned_responses(rows: list[Vote]) -> list[Vote]:
    return [*rows[:5], replace(rows[5], responses=list(reversed(rows[5].responses))), *rows[6:]]


def other_prompt(rows: list[Vote]) -> list[Vote]:
    return [*rows[:8], replace(rows[8], prompt="Question 99: how wide is it?"), *rows[9:]]


MUTATIONS = (swapped_ranks, tied, renamed, turned_responses, other_prompt)


def order_only(found: dict) -> dict:
    """Ranks without gaps: scores and verdicts cannot say more."""
    return {
        key: {
            person: {text: sorted(set(ranks.values())).index(rank) for text, rank in ranks.items()}
            for person, ranks in people.items()
        }
        for key, people in found.items()
    }


def read_back(shape: Shape, rows: Sequence[Vote], path: Path) -> dict:
    shape(rows, path)
    outcome = read(path)
    assert not outcome.bad
    return order_only(meaning(outcome.rankings))


CASES = [(4, shape) for shape in LONG_SHAPES] + [(2, shape) for shape in PAIR_SHAPES]
IDS = [f"{size}-{shape.__name__}" for size, shape in CASES]


@pytest.mark.parametrize(("size", "shape"), CASES, ids=IDS)
def test_each_shape_is_read_as_the_votes_that_it_holds(tmp_path, size, shape):
    rows = votes(size)
    truth = order_only(meaning(pool(rows).rankings))
    assert read_back(shape, rows, tmp_path / "file") == truth


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize(("size", "shape"), CASES, ids=IDS)
def test_what_is_changed_in_a_shape_changes_what_is_read(tmp_path, size, shape, mutation):
    if shape is label_studio_copied and mutation is tied:
        pytest.skip("buckets: their order must be given")
    before, changed = votes(size), mutation(votes(size))
    truth = order_only(meaning(pool(changed).rankings))
    found = read_back(shape, changed, tmp_path / "file")
    assert found == truth
    assert found != order_only(meaning(pool(before).rankings))


@pytest.mark.parametrize("shape", LONG_SHAPES)
def test_each_shape_has_the_pairs_and_the_agreement_of_the_pooled_file(tmp_path, shape):
    rows = votes(4)
    shape(rows, tmp_path / "file")
    found = read(tmp_path / "file").rankings
    assert len(found) == 6
    assert agreement_metrics(found) == pytest.approx(agreement_metrics(pool(rows).rankings))
