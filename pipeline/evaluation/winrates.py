"""Win rates of one policy against another on the same prompts, with confidence intervals. Pure functions."""

import math
from collections.abc import Sequence

import numpy as np

from labeling.intervals import Estimate as Estimate
from labeling.intervals import Z as Z
from labeling.intervals import wilson as wilson


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


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return the mean difference of two policies' scores on the same prompts, with the paired normal 95% interval."""
    gaps = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    mean, half = float(gaps.mean()), Z * error
    return Estimate(mean, mean - half, mean + half)
