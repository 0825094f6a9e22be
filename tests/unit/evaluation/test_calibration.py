"""Calibration of a reward model: what its scores predict against what people preferred."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.calibration import calibration

scores = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), max_size=40)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_one_bin_by_hand() -> None:
    """Four pairs predicted at 0.8, of which people agreed with three: an error of 0.05."""
    difference = logit(0.8)
    found = calibration([difference, difference, difference, 0.0], [0.0, 0.0, 0.0, difference], bins=5)
    (only,) = found.bins
    assert (only.low, only.high, only.pairs) == (pytest.approx(0.8), pytest.approx(0.9), 4)
    assert (only.predicted, only.observed) == (pytest.approx(0.8), 0.75)
    assert found.error == pytest.approx(0.05)


def test_the_error_weighs_bins_by_their_pairs() -> None:
    sure, unsure = logit(0.97), logit(0.56)
    found = calibration([sure, 0.0, unsure], [0.0, sure, 0.0], bins=5)
    assert [one.pairs for one in found.bins] == [1, 2]
    assert found.error == pytest.approx((1 * (1 - 0.56) + 2 * (0.97 - 0.5)) / 3)


def test_equal_scores_are_right_half_the_time() -> None:
    found = calibration([1.0, 2.0], [1.0, 2.0])
    assert (found.bins[0].predicted, found.bins[0].observed, found.error) == (0.5, 0.5, 0)


def test_a_model_that_says_what_people_do_is_calibrated() -> None:
    """Outcomes drawn from the Bradley-Terry model itself; twice as sure is worse."""
    coins = random.Random(0)
    differences = [coins.gauss(0, 2) for _ in range(20000)]
    pairs = [(d, 0.0) if coins.random() < 1 / (1 + math.exp(-d)) else (0.0, d) for d in differences]
    chosen, rejected = ([pair[side] for pair in pairs] for side in (0, 1))
    assert calibration(chosen, rejected).error < 0.01
    assert calibration([2 * one for one in chosen], [2 * one for one in rejected]).error > 0.05


@given(scores)
def test_every_pair_is_in_one_bin_and_shares_are_shares(pairs) -> None:
    found = calibration([one for one, _ in pairs], [other for _, other in pairs])
    assert sum(one.pairs for one in found.bins) == len(pairs)
    for one in found.bins:
        assert 0 <= one.observed <= 1
        assert one.low - 1e-9 <= one.predicted <= one.high + 1e-9
    assert 0 <= found.error <= 1


whole = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), max_size=40)


@given(whole, st.integers(-100, 100))
def test_a_shift_of_all_scores_changes_nothing(pairs, shift) -> None:
    """Whole numbers, so that the shift itself rounds nothing."""
    plain = calibration([one for one, _ in pairs], [other for _, other in pairs])
    assert calibration([one + shift for one, _ in pairs], [other + shift for _, other in pairs]) == plain
