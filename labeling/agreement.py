"""Measures agreement among annotators: pure functions of rankings.

Undefined values (one annotator, no task ranked twice, no variation) are NaN; ``agreement_metrics`` leaves them out.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labeling.records import Ranking, compare

Floats = NDArray[np.float64]

Metric = Callable[[Floats, Floats], Floats]
"""(values [V] ascending, counts [V]) -> squared differences [V, V], symmetric, zero diagonal."""


def nominal(values: Floats, counts: Floats) -> Floats:
    """0 for equal values, 1 for different ones."""
    return np.not_equal(values[:, None], values).astype(np.float64)


def ordinal(values: Floats, counts: Floats) -> Floats:
    """The number of observations between two values, each end counted by half, squared (Krippendorff 2011)."""
    return interval(np.cumsum(counts) - counts / 2, counts)


def interval(values: Floats, counts: Floats) -> Floats:
    """The difference of the values, squared."""
    return np.square(values[:, None] - values)


def krippendorff_alpha(units: Iterable[Sequence[float]], metric: Metric) -> float:
    """Krippendorff's alpha: 1 is perfect agreement, 0 is chance, below 0 is systematic disagreement.

    ``units`` holds the values that annotators gave to each judged item. The annotator of a value does not matter, so
    annotators may be missing. Units with fewer than two values are ignored.

    alpha = 1 - D_observed / D_expected, from the coincidence matrix o[c, k] = sum over units of (ordered pairs of
    values c, k) / (values in the unit - 1): Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011). NaN if
    all values are equal, or no unit has two: then the expected disagreement is 0.
    """
    values, table = value_table(units)
    return alpha_of(coincidences(table), values, metric)


def value_table(units: Iterable[Sequence[float]]) -> tuple[Floats, Floats]:
    """(the distinct values [V] ascending, how often each unit with two values or more has each value [units, V])."""
    paired = [np.asarray(unit, float) for unit in units if len(unit) >= 2]
    if not paired:
        return np.zeros(0), np.zeros((0, 0))
    values, where = np.unique(np.concatenate(paired), return_inverse=True)
    table = np.zeros((len(paired), len(values)))
    np.add.at(table, (np.repeat(np.arange(len(paired)), [len(unit) for unit in paired]), where), 1.0)
    return values, table


def coincidences(table: Floats) -> Floats:
    """The coincidence matrix [V, V] of the units in a table [units, V]: the sum over units."""
    weighted = table / (table.sum(axis=1, keepdims=True) - 1)
    matrix: Floats = weighted.T @ table - np.diag(weighted.sum(axis=0))
    return matrix


def alpha_of(matrix: Floats, values: Floats, metric: Metric) -> float:
    """Krippendorff's alpha of a coincidence matrix [V, V] of the values [V]."""
    counts = matrix.sum(axis=1)
    differences = metric(values, counts)
    expected = float(counts @ differences @ counts)
    return float(1 - (matrix * differences).sum() * (counts.sum() - 1) / expected) if expected > 0 else math.nan


def average_ranks(ranks: ArrayLike) -> Floats:
    """Ranks [..., n] -> ranks from 1 to n [..., n] in which tied items share their mean rank.

    So 1, 1, 3 and 1, 1, 2, which mean the same, become 1.5, 1.5, 3.
    """
    array = np.asarray(ranks, float)
    better = (array[..., None, :] < array[..., :, None]).sum(axis=-1)
    equal = (array[..., None, :] == array[..., :, None]).sum(axis=-1)
    averaged: Floats = better + (equal + 1) / 2
    return averaged


def ranking_alpha(rankings: Sequence[Ranking]) -> float:
    """Krippendorff's alpha of rankings: nominal if all of them are pairs, ordinal if some are longer.

    *Pairs.* A unit is a ranking, its value is first better, tie or second better. Nominal, since a tie is a category of
    its own. Alpha falls as one category becomes rare, so shuffle the slots.

    *Longer.* A unit is one response, its values are its ranks, on a scale from 0 (first) to 1 (last) so that rankings
    of different lengths go together; ties share their mean rank. Ordinal, since ranks have an order but no distances.
    With n values in all, without missing annotators and ties, this is 1 - (1 - mean Spearman correlation) (n - 1) / n:
    Kendall's W, but with chance at 0. Its limits: the responses of one ranking are not independent units (their ranks
    add up to a constant), so intervals must resample rankings, not responses; and one swap of distant ranks costs as
    much as several of neighbours. Alternatives: the mean of Kendall's tau-b, which weights all pairs of responses
    equally; nominal alpha over all pairs of responses; a Plackett-Luce or Bradley-Terry model with an ability per
    annotator.

    NaN if no ranking has two annotators, or if all annotators gave equal ranks everywhere.
    """
    units, metric = ranking_units(rankings)
    return krippendorff_alpha((unit for own in units for unit in own), metric)


def ranking_units(rankings: Sequence[Ranking]) -> tuple[list[list[list[float]]], Metric]:
    """(for each ranking its units, the metric of their values), as `ranking_alpha` takes them."""
    if all(len(ranking["responses"]) == 2 for ranking in rankings):
        return [[[float(one) for one in outcome.values()] for outcome in _outcomes([row])] for row in rankings], nominal
    return [_response_units(ranking) for ranking in rankings], ordinal


def _response_units(ranking: Ranking) -> list[list[float]]:
    """One unit per response: its place in each annotator's order, 0 (first) to 1 (last)."""
    places = (average_ranks(_ranks(ranking)) - 1) / (len(ranking["responses"]) - 1)
    units: list[list[float]] = places.T.tolist()
    return units


def kendall_w(ranks: ArrayLike) -> float:
    """Kendall's W of one task, corrected for ties: 1 is perfect concordance.

    ``ranks`` is [annotators m, responses n]. W = 12 S / (m^2 (n^3 - n) - m T), with S the sum of squared deviations of
    the responses' rank sums from their mean, and T the sum of t^3 - t over all groups of t tied responses (Kendall and
    Smith 1939; Siegel and Castellan 1988, section 9.7). Chance gives 1/m, not 0. NaN for fewer than two annotators, and
    if all tie all responses.
    """
    ordered = average_ranks(ranks)
    m, n = ordered.shape
    if m < 2:
        return math.nan
    deviations = ordered.sum(axis=0) - m * (n + 1) / 2
    # Over the t members of a tied group, t^2 - 1 adds up to t^3 - t.
    equal = (ordered[:, :, None] == ordered[:, None, :]).sum(axis=-1)
    possible = m * m * (n**3 - n) - m * float((equal**2 - 1).sum())
    return float(12 * (deviations**2).sum() / possible) if possible > 0 else math.nan


def mean_kendall_w(rankings: Iterable[Ranking]) -> float:
    """Kendall's W per task, averaged over the tasks where it is defined; NaN if there are none.

    Chance gives 1 / (annotators per task): compare only values of equal overlap.
    """
    values = [kendall_w(_ranks(ranking)) for ranking in rankings if len(ranking["rankings"]) >= 2]
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def pairwise_agreement(rankings: Iterable[Ranking]) -> float:
    """The share of equal orders, over all pairs of responses and all pairs of annotators who ranked both.

    The three outcomes are first better, tie and second better. Not corrected for chance. NaN if no ranking has two
    annotators.
    """
    counts = [equal_orders(ranking) for ranking in rankings]
    same, total = sum(equal for equal, _ in counts), sum(count for _, count in counts)
    return same / total if total else math.nan


def equal_orders(ranking: Ranking) -> tuple[int, int]:
    """(equal orders, all orders) of two annotators of one ranking, over its pairs of responses."""
    compared = [one == other for outcomes in _outcomes([ranking]) for one, other in combinations(outcomes.values(), 2)]
    return sum(compared), len(compared)


class Disagreement(NamedTuple):
    """The probability that two annotators name different answers as the better one, and the comparisons behind it."""

    share: float
    comparisons: int


def disagreement(ranking: Ranking) -> Disagreement:
    """How far the annotators of one ranking disagree, over all pairs of different responses and of annotators.

    A tie is half a vote for either response, so a tie disagrees by half with any vote. NaN without two annotators.
    """
    responses, shares = ranking["responses"], []
    for first, second in combinations(range(len(responses)), 2):
        if responses[first] != responses[second]:
            votes = [compare(ranks, first, second) for ranks in _ranks(ranking)]
            shares += [(1 - one * other) / 2 for one, other in combinations(votes, 2)]
    return Disagreement(sum(shares) / len(shares) if shares else math.nan, len(shares))


class MajorityAgreement(NamedTuple):
    """One annotator's agreement with the others: a share of ``comparisons``, NaN without comparisons."""

    agreement: float
    comparisons: int


def agreement_with_others(rankings: Iterable[Ranking]) -> dict[str, MajorityAgreement]:
    """Each annotator's agreement with the majority of the others, over all pairs of responses.

    The others' majority is their most frequent outcome (first better, tie, second better); pairs with two equally
    frequent outcomes are not counted. Random answers reach about 1/2 if ties are rare; with few ``comparisons`` the
    value is unreliable. Sorted by name.
    """
    same: Counter[str] = Counter()
    total: Counter[str] = Counter()
    names: set[str] = set()
    for outcomes in _outcomes(rankings):
        names.update(outcomes)
        for name, outcome in outcomes.items():
            majority = _most_frequent(others for other, others in outcomes.items() if other != name)
            if majority is not None:
                same[name] += outcome == majority
                total[name] += 1
    return {
        name: MajorityAgreement(same[name] / total[name] if total[name] else math.nan, total[name])
        for name in sorted(names)
    }


def accuracy_of_people(rankings: Iterable[Ranking]) -> float:
    """The accuracy of one annotator against the majority of the others: the human ceiling of a reward model.

    Over all pairs of different responses and all annotators for whom the others have a majority. A tie by the annotator
    counts half, like a model's equal scores. A model is compared with the majority of all annotators, one more than
    here, so with few annotators it can exceed this "ceiling". NaN without comparisons.
    """
    right, total = 0.0, 0
    for ranking in rankings:
        responses = ranking["responses"]
        for first, second in combinations(range(len(responses)), 2):
            if responses[first] == responses[second]:
                continue
            votes = [compare(ranks, first, second) for ranks in _ranks(ranking)]
            for vote in votes:
                others = sum(votes) - vote
                if others:
                    right += 0.5 if vote == 0 else float((vote > 0) == (others > 0))
                    total += 1
    return right / total if total else math.nan


def agreement_metrics(rankings: Sequence[Ranking]) -> dict[str, float]:
    """``alpha``, ``kendall_w`` and ``pairwise_agreement`` for a manifest, without undefined values."""
    metrics = {
        "alpha": ranking_alpha(rankings),
        "kendall_w": mean_kendall_w(rankings),
        "pairwise_agreement": pairwise_agreement(rankings),
    }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _ranks(ranking: Ranking) -> list[list[int]]:
    """Ranks [annotators, responses]."""
    return [row["ranks"] for row in ranking["rankings"]]


def _outcomes(rankings: Iterable[Ranking]) -> Iterator[Mapping[str, int]]:
    """For each pair of responses: annotator -> 1 first better, 0 tie, -1 second better."""
    for ranking in rankings:
        for first, second in combinations(range(len(ranking["responses"])), 2):
            yield {row["annotator"]: compare(row["ranks"], first, second) for row in ranking["rankings"]}


def _most_frequent(outcomes: Iterable[int]) -> int | None:
    """The most frequent outcome; None without outcomes or if two are equally frequent."""
    ranked = Counter(outcomes).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
