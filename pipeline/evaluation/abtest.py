"""Statistics of a blind A/B test: how often people prefer one policy, and how certain that is. Pure functions.

The unit is one judged prompt: the first policy wins, ties or loses. A win rate counts ties half.

Two kinds of looks share the error of 5%. All looks before the planned end have a small part of it together, since the
interval of `always_valid` holds at all of them at once. The look at the planned end has the rest. So the interval that
is shown covers the true rate in at least 95% of tests, whether they stop early or not (the union bound; as Haybittle
1971, Br J Radiol 44:793-797, and Peto et al. 1976, Br J Cancer 34:585-612, split it).
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.winrates import Estimate

ERROR = 0.05  # share of tests in which the interval that is shown may miss the true rate
EARLY = 0.001  # the part of it for all looks before the planned end
FINAL = ERROR - EARLY

BETS = (np.arange(199) + 0.5) / 199  # rates in the mixture of `always_valid`
WEIGHTS = (BETS * (1 - BETS)) ** 9  # of Beta(10, 10): most on rates from 0.3 to 0.7
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())


class Tally(NamedTuple):
    """Judged prompts by their outcome for the first policy."""

    wins: int
    ties: int
    losses: int

    @property
    def judged(self) -> int:
        return sum(self)

    @property
    def win_rate(self) -> float:
        """The share of wins, ties counted half; 0.5 without a judged prompt."""
        return 0.5 + (self.wins - self.losses) / (2 * self.judged) if self.judged else 0.5


def tally(outcomes: Sequence[float]) -> Tally:
    """Count outcomes: 1 is a win, 0.5 a tie, 0 a loss."""
    wins, ties, losses = (sum(outcome == value for outcome in outcomes) for value in (1.0, 0.5, 0.0))
    return Tally(wins, ties, losses)


def interval(seen: Tally, *, ended: bool) -> Estimate:
    """Return the win rate with the interval to show: at the planned end, or at any look before it."""
    return at_the_end(seen) if ended else always_valid(seen)


def shows_difference(rate: Estimate) -> bool:
    """Whether the interval excludes an even rate."""
    return not rate.low <= 0.5 <= rate.high


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

    low, high = (_crossing(excess, end, mean) for end in (-1.0, 1.0))
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


def _crossing(excess: Callable[[float], float], end: float, seen: float) -> float:
    """Return where `excess` becomes positive between what was seen and this end of the scale; the end if nowhere."""
    from scipy.optimize import brentq  # the import takes a second

    inside = seen + (end - seen) * 1e-9  # an outcome without variance has no interval at what was seen itself
    if end == seen or excess(end) <= 0:
        return end
    return float(brentq(excess, end, inside))


def always_valid(seen: Tally) -> Estimate:
    """Return the win rate with an interval that holds at all looks at once, whenever the test stops.

    Bet on each prompt against a rate `m`, from a capital of 1. If `m` is the true rate, the capital ever reaches
    1 / EARLY in at most a share `EARLY` of tests (Ville 1939). The interval has all `m` with less (Waudby-Smith and
    Ramdas 2024, JRSS-B 86:1-27, arXiv 2010.09686). The bets are a fixed mixture (Robbins 1970, Ann Math Stat 41:1397),
    so the order of the prompts does not matter. The capital is log-convex in `m`, and at most 1 at the rate seen.
    """

    def excess(m: float) -> float:
        return log_capital(seen, m) + math.log(EARLY)

    low, high = (_crossing(excess, end, seen.win_rate) for end in (0.0, 1.0))
    return Estimate(seen.win_rate, low, high)


def log_capital(seen: Tally, m: float) -> float:
    """Return the logarithm of the capital after bets against a rate `m`.

    A bet on the rate `p` multiplies the capital by p / m after a win, by (1 - p) / (1 - m) after a loss, and by the
    mean of the two after a tie.
    """
    with np.errstate(divide="ignore"):
        win, loss = np.log(BETS) - np.log(m), np.log1p(-BETS) - np.log1p(-m)
    tie = np.logaddexp(win, loss) - math.log(2)
    grown = sum(count * factor for count, factor in zip(seen, (win, tie, loss), strict=True) if count)
    return float(np.logaddexp.reduce(LOG_WEIGHTS + grown))


def sign_test(seen: Tally) -> float:
    """Return the two-sided p-value of an even chance to win or lose, from the prompts without a tie."""
    from scipy.stats import binomtest  # the import takes a second

    decided = seen.wins + seen.losses
    return float(binomtest(seen.wins, decided).pvalue) if decided else 1.0
