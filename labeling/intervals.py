"""Intervals of shares, medians, and statistics of tasks. Pure functions."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = NormalDist().inv_cdf(0.975)  # of a 95% interval
RESAMPLES, BLOCK = 1000, 50  # samples of the bootstrap, and those that are held in memory at once


class Estimate(NamedTuple):
    """A value and its 95% interval."""

    value: float
    low: float
    high: float


def wilson(share: float, count: int, z: float = Z) -> Estimate:
    """A share of `count` independent trials with Wilson's interval, by default of 95%; count is above 0."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def median_interval(values: Sequence[float]) -> Estimate:
    """The median of independent values with a 95% interval between two of them, which needs no distribution.

    The number of values below the median is Binomial(count, 1/2); its normal approximation gives the two places.
    """
    ordered, count = sorted(values), len(values)
    half = Z * math.sqrt(count) / 2
    low, high = max(0, math.floor(count / 2 - half)), min(count - 1, math.ceil(count / 2 + half))
    return Estimate(median(ordered), ordered[low], ordered[high])


def bootstrap(sums: Floats, statistic: Callable[[Floats], Floats], seed: int) -> Estimate:
    """A statistic with its 95% percentile interval; tasks are drawn with replacement (Efron and Tibshirani 1993, 13.3).

    `sums` is [tasks, parts]: what each task adds to each part. `statistic` takes the parts' totals [samples, parts] and
    returns [samples]; samples where it is NaN are left out. NaN if it is NaN for the tasks themselves. The annotators
    stay the same: the interval is about other tasks, not about other people.
    """
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    if not math.isfinite(value):
        return Estimate(math.nan, math.nan, math.nan)
    tasks, draw = len(sums), np.random.default_rng(seed)
    totals = []
    for _ in range(RESAMPLES // BLOCK):
        drawn = draw.integers(tasks, size=(BLOCK, tasks))
        counts = np.stack([np.bincount(one, minlength=tasks) for one in drawn])
        totals.append(counts.astype(np.float64) @ sums)
    found = statistic(np.concatenate(totals))
    low, high = np.percentile(found[np.isfinite(found)], [2.5, 97.5])
    return Estimate(value, float(low), float(high))
