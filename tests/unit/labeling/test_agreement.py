"""Agreement: published examples, equivalences with other statistics, and undefined values."""

import json
import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, rankdata, spearmanr

from labeling.agreement import (
    accuracy_of_people,
    agreement_metrics,
    agreement_with_others,
    average_ranks,
    interval,
    kendall_w,
    krippendorff_alpha,
    mean_kendall_w,
    nominal,
    ordinal,
    pairwise_agreement,
    ranking_alpha,
)
from labeling.records import Ranking
from tests.places import REAL

RANKINGS = REAL / "rankings"

rank_tables = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(1, n), min_size=n, max_size=n), min_size=2, max_size=5)
)


def ranking(*tables: list[int], name: str = "r0") -> Ranking:
    rows = [{"annotator": f"annotator{number}", "ranks": ranks} for number, ranks in enumerate(tables, start=1)]
    return {
        "id": name,
        "prompt": "p",
        "responses": [f"response {slot}" for slot in range(len(tables[0]))],
        "rankings": rows,
    }


def random_rankings(count: int, slots: int, annotators: int) -> list[Ranking]:
    source = random.Random(0)
    return [
        ranking(*(source.sample(range(1, slots + 1), slots) for _ in range(annotators)), name=f"r{number}")
        for number in range(count)
    ]


def units(*observers: str) -> list[list[float]]:
    """One row of values per observer, a point where one is missing."""
    return [
        [float(value) for value in column if value != "."] for column in zip(*map(str.split, observers), strict=True)
    ]


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), https://repository.upenn.edu/asc_papers/43

FOUR_OBSERVERS = units(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


@pytest.mark.parametrize(("metric", "published"), [(nominal, 0.743), (ordinal, 0.815), (interval, 0.849)])
def test_alpha_of_four_observers_with_missing_values(metric, published):
    assert krippendorff_alpha(FOUR_OBSERVERS, metric) == pytest.approx(published, abs=0.0005)


def test_alpha_of_binary_data():
    assert krippendorff_alpha(units("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), nominal) == pytest.approx(
        0.095, abs=5e-4
    )


def test_alpha_of_nominal_data():
    data = units("1 1 2 2 4 3 3 3 5 4 4 1", "2 1 2 2 2 3 3 3 5 4 4 4")
    assert krippendorff_alpha(data, nominal) == pytest.approx(0.692, abs=5e-4)


@given(st.lists(st.lists(st.integers(1, 5), max_size=4), max_size=6))
def test_alpha_is_at_most_one_and_does_not_depend_on_the_order(data):
    alpha = krippendorff_alpha(data, ordinal)
    assert math.isnan(alpha) or alpha <= 1 + 1e-12
    assert krippendorff_alpha([unit[::-1] for unit in data[::-1]], ordinal) == pytest.approx(alpha, nan_ok=True)


def test_alpha_of_complete_rankings_is_spearman_with_chance_at_zero():
    """Squared rank differences average (n^2 - 1) / 6 (1 - rho) within a ranking; what the docstring states follows."""
    rankings = random_rankings(20, slots=5, annotators=3)
    correlations = [
        spearmanr(one["ranks"], other["ranks"]).statistic
        for row in rankings
        for one, other in combinations(row["rankings"], 2)
    ]
    values = 20 * 5 * 3
    assert ranking_alpha(rankings) == pytest.approx(1 - (1 - np.mean(correlations)) * (values - 1) / values)


@pytest.mark.parametrize("slots", [2, 3, 5])
def test_chance_is_near_zero_for_alpha_and_one_over_the_annotators_for_w(slots):
    metrics = agreement_metrics(random_rankings(1500, slots, annotators=3))
    assert metrics["alpha"] == pytest.approx(0, abs=0.05)
    assert metrics["kendall_w"] == pytest.approx(1 / 3, abs=0.03)
    assert metrics["pairwise_agreement"] == pytest.approx(1 / 2, abs=0.03)


def test_pairs_are_nominal_with_ties_as_an_answer():
    rankings = [ranking([1, 2], [1, 2]), ranking([2, 1], [1, 1]), ranking([1, 1], [1, 1])]
    assert ranking_alpha(rankings) == krippendorff_alpha([[1, 1], [-1, 0], [0, 0]], nominal)


def test_rankings_of_different_lengths_go_together():
    rankings = [ranking([1, 2], [1, 2]), ranking([1, 2, 3], [1, 2, 3]), ranking([4, 3, 2, 1], [4, 3, 2, 1])]
    assert ranking_alpha(rankings) == pytest.approx(1)


@given(rank_tables)
def test_how_ties_are_numbered_does_not_matter(tables):
    competition = [rankdata(table, "min").astype(int).tolist() for table in tables]
    dense = [rankdata(table, "dense").astype(int).tolist() for table in tables]
    assert agreement_metrics([ranking(*dense)]) == agreement_metrics([ranking(*competition)])


@given(rank_tables)
def test_agreement_does_not_depend_on_longer_rankings_slots(tables):
    tables = [[*table, len(table) + 1] for table in tables]  # three slots or more: pairs are nominal by slot
    turned = ranking(*(table[::-1] for table in tables))
    assert agreement_metrics([turned]) == pytest.approx(agreement_metrics([ranking(*tables)]))


@given(rank_tables)
def test_average_ranks_are_scipys(tables):
    assert average_ranks(tables).tolist() == rankdata(tables, axis=1).tolist()


def test_kendall_w_of_a_published_example_with_ties():
    """NAG Library, example of G08DAF (nonpar_concordance_kendall)."""
    scores = [
        [1.0, 4.5, 2.0, 4.5, 3.0, 7.5, 6.0, 9.0, 7.5, 10.0],
        [2.5, 1.0, 2.5, 4.5, 4.5, 8.0, 9.0, 6.5, 10.0, 6.5],
        [2.0, 1.0, 4.5, 4.5, 4.5, 4.5, 8.0, 8.0, 8.0, 10.0],
    ]
    assert kendall_w(scores) == pytest.approx(0.828, abs=5e-4)


@given(rank_tables)
def test_kendall_w_is_friedmans_statistic(tables):
    """chi2 = m (n - 1) W, both corrected for ties."""
    w, m, n = kendall_w(tables), len(tables), len(tables[0])
    if n < 3:
        return  # scipy refuses fewer than three
    if math.isnan(w):
        assert all(len(set(table)) == 1 for table in tables)
        return
    assert 0 <= w <= 1 + 1e-12
    assert m * (n - 1) * w == pytest.approx(friedmanchisquare(*np.array(tables).T).statistic)


def test_kendall_w_is_averaged_over_the_tasks_where_it_can_be_said():
    rankings = [ranking([1, 2], [1, 2]), ranking([1, 2], [2, 1]), ranking([1, 1], [1, 1]), ranking([1, 2])]
    assert mean_kendall_w(rankings) == pytest.approx((1 + 0) / 2)


def test_pairwise_agreement_counts_ties_as_their_own_outcome():
    # Three pairs of annotators, three pairs of responses: only the annotators 1 and 2 agree, on two of them.
    assert pairwise_agreement([ranking([1, 2, 3], [1, 3, 2], [1, 1, 1])]) == pytest.approx(2 / 9)
    assert pairwise_agreement([ranking([1, 1], [1, 1])]) == 1


def test_agreement_with_the_majority_of_the_others():
    rankings = [ranking([1, 2], [1, 2], [2, 1]), ranking([2, 1], [2, 1], [2, 1]), ranking([1, 1], [1, 1], [1, 2])]
    pair_with_others = agreement_with_others(rankings)
    # The first two never meet a majority where the third differs from the other one: one comparison, agreed.
    assert pair_with_others["annotator1"] == pair_with_others["annotator2"] == (1.0, 1)
    assert pair_with_others["annotator3"] == (1 / 3, 3)


def test_one_annotator_alone_cannot_agree():
    rankings = [ranking([1, 2, 3]), ranking([3, 2, 1])]
    assert agreement_metrics(rankings) == {}
    agreement, comparisons = agreement_with_others(rankings)["annotator1"]
    assert math.isnan(agreement)
    assert comparisons == 0


def test_without_rankings_nothing_can_be_said():
    assert agreement_metrics([]) == {}
    assert agreement_with_others([]) == {}


def test_without_variation_alpha_is_left_out():
    assert agreement_metrics([ranking([1, 1], [1, 1])]) == {"pairwise_agreement": 1}


@pytest.mark.parametrize(
    ("file", "alpha", "kendall_w", "pairwise"),
    [("pandalm_neutral", 0.8503, 0.9027, 0.9122), ("squality_neutral", 0.8421, 0.8944, 0.8944)],
)
def test_agreement_of_real_annotators(file, alpha, kendall_w, pairwise):
    path = RANKINGS / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"the real rankings are not here: {path}")
    metrics = agreement_metrics([json.loads(line) for line in path.read_text().splitlines()])
    expected = {"alpha": alpha, "kendall_w": kendall_w, "pairwise_agreement": pairwise}
    assert metrics == pytest.approx(expected, abs=5e-5)


def test_the_human_ceiling_is_one_against_the_majority_of_the_others():
    """a and b agree and c does not: a and b have no majority against them, c has one, and is wrong."""
    assert accuracy_of_people([ranking([1, 2], [1, 2], [2, 1])]) == 0
    assert accuracy_of_people([ranking([1, 2], [1, 2], [1, 2])]) == 1
    assert accuracy_of_people([ranking([1, 2], [1, 2], [1, 1])]) == pytest.approx((1 + 1 + 0.5) / 3)
    assert accuracy_of_people([ranking([1, 2], [1, 2]), ranking([1, 2], [2, 1])]) == 0.5


def test_the_ceiling_is_undefined_without_comparisons():
    same = ranking([1, 2], [1, 2])
    same["responses"] = ["one answer", "one answer"]
    for rankings in ([], [ranking([1, 2])], [ranking([1, 1], [1, 1])], [same]):
        assert math.isnan(accuracy_of_people(rankings))


@pytest.mark.parametrize("annotators", [2, 3, 5])
def test_people_who_answer_blindly_are_right_half_the_time(annotators):
    assert accuracy_of_people(random_rankings(1500, 3, annotators)) == pytest.approx(0.5, abs=0.03)
