"""Statistics of a blind A/B test: how often people prefer one policy, and how certain that is. Pure functions.

The unit is one judged prompt: the first policy wins, ties or loses. A win rate counts ties half. The interval for a
running test is in `labeling.sequential`.

Two kinds of looks share the error of 5%. All looks before the planned end have a small part of it together, since the
interval of `always_valid` holds at all of them at once. The look at the planned end has the rest. So the interval that
is shown covers the true rate in at least 95% of tests, whether they stop early or not (the union bound; as Haybittle
1971, Br J Radiol 44:793-797, and Peto et al. 1976, Br J Cancer 34:585-612, split it).
"""

import math
from statistics import NormalDist

from labeling.sequential import EARLY, Tally, always_valid, crossing
from pipeline.evaluation.winrates import Estimate

ERROR = 0.05  # share of tests in which the interval that is shown may miss the true rate
FINAL = ERROR - EARLY  # the part of it for the look at the planned end


def interval(seen: Tally, *, ended: bool) -> Estimate:
    """Return the win rate with the interval to show: at the planned end, or at any look before it."""
    return at_the_end(seen) if ended else always_valid(seen)


def at_the_end(seen: Tally, error: float = FINAL) -> Estimate:
    """Return the win rate with its interval for a single look.

    Tango's score interval (1998, Stat Med 17:891-908) for the difference between the shares of wins and losses,
    converted to a rate. Without ties it is Wilson's. Ties make it narrower, since they vary less than wins and losses.
    """
    if not seen.judged:
        return Estimate(0.5, 0.0, 1.0)
    z, mean = z_of(error), (seen.wins - seen.losses) / seen.judged

    def excess(delta: float) -> float:
        """How much farther than allowed the mean is from `delta`: positive outside the interval."""
        return abs(mean - delta) - z * math.sqrt(max(_variance(seen, delta), 0.0) / seen.judged)

    low, high = (crossing(excess, end, mean) for end in (-1.0, 1.0))
    return Estimate(seen.win_rate, (1 + low) / 2, (1 + high) / 2)


def z_of(error: float) -> float:
    """Return the number of standard errors beyond which this share of a normal distribution lies, on both sides."""
    return NormalDist().inv_cdf(1 - error / 2)


def _variance(seen: Tally, delta: float) -> float:
    """Return the variance of an outcome (1, 0 or -1) if the mean is `delta`, by the likeliest share of losses."""
    n, decided = seen.judged, seen.wins + seen.losses
    b = (2 * n - seen.wins + seen.losses) * delta - decided
    c = -seen.losses * delta * (1 - delta)
    losses = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    return 2 * losses + delta * (1 - delta)


def sign_test(seen: Tally) -> float:
    """Return the two-sided p-value of an even chance to win or lose, from the prompts without a tie."""
    from scipy.stats import binomtest  # the import takes a second

    decided = seen.wins + seen.losses
    return float(binomtest(seen.wins, decided).pvalue) if decided else 1.0
