"""Intervals of the agreement among annotators: tasks are drawn with replacement. Pure functions."""

import math
from collections.abc import Sequence

import numpy as np

from labeling.agreement import alpha_of, coincidences, equal_orders, kendall_w, ranking_units, value_table
from labeling.intervals import Estimate, Floats, bootstrap
from labeling.records import Ranking


def agreement_intervals(rankings: Sequence[Ranking], seed: int) -> dict[str, Estimate]:
    """`alpha`, `kendall_w` and `pairwise_agreement` with their 95% intervals, without undefined ones.

    The values are those of `labeling.agreement.agreement_metrics`. A task is a ranking: its pairs of responses are not
    independent. The intervals do not tell what other annotators would have answered.
    """
    shared = [ranking for ranking in rankings if len(ranking["rankings"]) >= 2]
    if not shared:
        return {}
    concordances = [kendall_w([row["ranks"] for row in ranking["rankings"]]) for ranking in shared]
    defined = [[value, 1.0] for value in concordances if not math.isnan(value)]
    found = {
        "alpha": _alpha(rankings, seed),
        "kendall_w": bootstrap(np.array(defined).reshape(-1, 2), _ratio, seed),
        "pairwise_agreement": bootstrap(np.array([equal_orders(one) for one in shared], float), _ratio, seed),
    }
    return {name: estimate for name, estimate in found.items() if math.isfinite(estimate.value)}


def _alpha(rankings: Sequence[Ranking], seed: int) -> Estimate:
    """Krippendorff's alpha: each ranking adds its coincidences to the matrix."""
    given, metric = ranking_units(rankings)
    units = [own for own, ranking in zip(given, rankings, strict=True) if len(ranking["rankings"]) >= 2]
    values, table = value_table(unit for own in units for unit in own)
    ends = np.cumsum([len(own) for own in units])[:-1]
    sums = np.stack([coincidences(own).ravel() for own in np.split(table, ends)])
    size = len(values)

    def alphas(totals: Floats) -> Floats:
        return np.array([alpha_of(total.reshape(size, size), values, metric) for total in totals])

    return bootstrap(sums, alphas, seed)


def _ratio(totals: Floats) -> Floats:
    """The quotient of two totals [samples, 2]; NaN where the second is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Floats = totals[:, 0] / totals[:, 1]
    return shares
