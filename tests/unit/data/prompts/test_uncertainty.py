"""Which answers people are asked about: against sums with `math` alone, and by all sets of answers."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.prompts.uncertainty import most_informative, most_uncertain_answers, order_entropy

scores = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


def entropy(gap: float) -> float:
    """Of a coin that falls on one side with the probability 1 / (1 + exp(-gap)), in bits."""
    shares = [1 / (1 + math.exp(-gap)), 1 / (1 + math.exp(gap))]
    return -sum(share * math.log2(share) for share in shares)


def mean_entropy(given: list[float]) -> float:
    pairs = [*combinations(given, 2)]
    return sum(entropy(a - b) for a, b in pairs) / len(pairs)


@given(scores)
def test_it_is_the_entropy_of_the_order_of_each_two(given_scores: list[float]) -> None:
    found = order_entropy(given_scores)
    for i, one in enumerate(given_scores):
        assert found[i].tolist() == pytest.approx([entropy(one - other) for other in given_scores], abs=1e-9)


@pytest.mark.parametrize("gap", [0.0, 1.0, 700.0, 1e6])
def test_it_is_1_for_equal_scores_and_finite_for_any_gap(gap: float) -> None:
    assert order_entropy([0.0, gap])[0, 1] == pytest.approx(1.0 if gap == 0 else entropy(gap) if gap < 700 else 0.0)


@given(scores, st.integers(2, 6))
def test_no_other_set_of_answers_is_more_uncertain(given_scores: list[float], count: int) -> None:
    answers, found = most_uncertain_answers(given_scores, count)
    size = min(count, len(given_scores))
    assert len(set(answers)) == size
    assert list(answers) == sorted(answers)
    others = [mean_entropy(list(some)) for some in combinations(given_scores, size)]
    assert found == pytest.approx(max(others), abs=1e-9)
    assert mean_entropy([given_scores[i] for i in answers]) == pytest.approx(found, abs=1e-9)


def test_prompts_come_in_the_order_of_their_uncertainty() -> None:
    sure, open_, between = [0.0, 9.0], [3.0, 3.0], [1.0, 2.0]
    found = most_informative([sure, open_, between, open_], 3, 2)
    assert [one.prompt for one in found] == [1, 3, 2]
    assert [one.uncertainty for one in found] == pytest.approx([1.0, 1.0, entropy(1.0)])
    assert [one.answers for one in most_informative([[0.0, 5.0, 5.5, -9.0]], 1, 2)] == [(1, 2)]
    assert len(most_informative([sure], 3, 2)) == 1
