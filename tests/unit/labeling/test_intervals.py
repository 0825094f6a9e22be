"""Intervals: against SciPy's, and how often they cover what they should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labeling.agreement import agreement_metrics
from labeling.agreement_intervals import agreement_intervals
from labeling.intervals import Floats, bootstrap, median_interval, wilson
from labeling.records import Ranking, Ranks
from tests.examples import at_most


def mean_of(totals: Floats) -> Floats:
    return totals[:, 0] / totals[:, 1]


def ranking(*ranks: list[int]) -> Ranking:
    rows = [Ranks(annotator=f"a{number}", ranks=own) for number, own in enumerate(ranks)]
    responses = [f"response {slot}" for slot in range(len(ranks[0]))]
    return Ranking(id="r", prompt="?", responses=responses, rankings=rows)


@pytest.mark.parametrize(("held", "count"), [(0, 5), (3, 8), (40, 41), (500, 1000)])
def test_a_share_s_interval_is_wilson_s(held: int, count: int) -> None:
    expected = stats.binomtest(held, count).proportion_ci(method="wilson")
    assert wilson(held / count, count) == pytest.approx((held / count, expected.low, expected.high))


def test_the_bootstrap_is_scipy_s_percentile_interval() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    found = bootstrap(np.stack([values, np.ones(80)], axis=1), mean_of, seed=1)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.02)
    assert bootstrap(np.stack([values, np.ones(80)], axis=1), mean_of, seed=1) == found


def test_an_undefined_statistic_has_no_interval() -> None:
    assert all(math.isnan(end) for end in bootstrap(np.zeros((3, 2)), lambda totals: totals[:, 0] / np.nan, 0))


def test_the_median_s_interval_covers_the_median_in_about_95_of_100_samples() -> None:
    draw = np.random.default_rng(0)
    for count in (10, 31, 100):
        found = [median_interval(draw.exponential(size=count).tolist()) for _ in range(2000)]
        assert np.mean([low <= math.log(2) <= high for _, low, high in found]) >= 0.935


@st.composite
def rankings(draw):
    """One to six rankings, all of pairs or of two to four responses, by none to three annotators who may tie."""
    sizes = st.just(2) if draw(st.booleans()) else st.integers(2, 4)
    found = []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(sizes)
        one = st.lists(st.integers(1, size), min_size=size, max_size=size)
        own = draw(st.lists(one, max_size=3))
        found.append({**ranking(*own, [1] * size), "rankings": ranking(*own)["rankings"] if own else []})
    return found


@at_most(25)
@given(rankings())
def test_the_values_are_those_of_the_agreement(given_rankings):
    found = agreement_intervals(given_rankings, 0)
    assert {name: one.value for name, one in found.items()} == pytest.approx(agreement_metrics(given_rankings))
    for one in found.values():
        assert one.low <= one.high


@pytest.mark.parametrize("responses", [2, 3])
def test_intervals_of_agreement_cover_that_of_many_more_tasks(responses: int) -> None:
    """Alpha, W and pairwise agreement of 60 tasks, in 25 samples from a population of 3,000 tasks."""
    draw = np.random.default_rng(responses)

    def some(count: int) -> list[Ranking]:
        scores = draw.normal(size=(count, 1, responses)) + draw.normal(size=(count, 3, responses))
        return [ranking(*(stats.rankdata(-row).astype(int).tolist() for row in own)) for own in scores]

    truth = agreement_metrics(some(3_000))
    found = [agreement_intervals(some(60), 0) for _ in range(25)]
    for name, value in truth.items():
        assert sum(one[name].low <= value <= one[name].high for one in found) >= 21
