"""Best of n: which answer is kept, and how far it is from the policy below."""

import math
import random

import pytest

from pipeline.evaluation.best_of import best_places, kl_bound


def test_the_best_of_each_prompts_first_answers_is_kept() -> None:
    scores = [*(0.1, 0.9, 0.5, 0.95), *(2.0, -1.0, 2.0, 1.0)]
    assert best_places(scores, 2, of=4) == [1, 4]
    assert best_places(scores, 3, of=4) == [1, 4]
    assert best_places(scores, 4, of=4) == [3, 4]


@pytest.mark.parametrize("count", [2, 4, 16])
def test_the_bound_is_the_divergence_where_no_two_answers_are_equal(count: int) -> None:
    """Of answers uniform on [0, 1] the best of n has density n x^(n - 1): KL by Monte Carlo."""
    draws = random.Random(0)
    best = [max(draws.random() for _ in range(count)) for _ in range(20_000)]
    measured = sum(math.log(count) + (count - 1) * math.log(x) for x in best) / len(best)
    assert kl_bound(count) == pytest.approx(measured, abs=0.03)


def test_among_few_different_answers_the_best_is_nearer_than_the_bound() -> None:
    """With two answers of equal probability the better one has 1 - 2^-n."""
    for count in (2, 4, 16):
        better = 1 - 0.5**count
        exact = better * math.log(better / 0.5) + (1 - better) * math.log((1 - better) / 0.5)
        assert exact < kl_bound(count)
