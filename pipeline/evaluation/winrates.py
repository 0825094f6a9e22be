"""Win rates of one policy against another on the same prompts, with confidence intervals. Pure functions."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

Z = NormalDist().inv_cdf(0.975)  # of a 95% interval


class Estimate(NamedTuple):
    """A value and its 95% interval."""

    value: float
    low: float
    high: float


def outcomes(scores: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return [prompts] outcomes: 1 if the first score is higher, 0 if it is lower, 0.5 for a tie."""
    return [0.5 if math.isclose(a, b, abs_tol=1e-9) else float(a > b) for a, b in zip(scores, others, strict=True)]


def win_rate(scores: Sequence[float], others: Sequence[float]) -> Estimate:
    """Return the share of prompts on which the first is better, ties counted half, with Wilson's 95% interval.

    Wilson (1927), JASA 22:209-212. The interval stays within [0, 1] and has a width even if every prompt is won. Ties
    vary less than wins and losses, so with ties the interval is wider than necessary, which is safe.
    """
    won = outcomes(scores, others)
    return wilson(float(np.mean(won)), len(won))


def wilson(share: float, count: int) -> Estimate:
    """Return a share of `count` independent trials with Wilson's 95% interval."""
    centre = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return the mean difference of two policies' scores on the same prompts, with the paired normal 95% interval."""
    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    mean, half = float(gaps.mean()), Z * error
    return Estimate(mean, mean - half, mean + half)
