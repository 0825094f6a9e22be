"""A blind test while it runs: how often one policy is preferred, with an interval that holds at every look. Pure.

The unit is one judged prompt: the first policy wins, ties or loses. A win rate counts ties half. A test may stop as
soon as the interval excludes an even rate, however often people have looked.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from labeling.intervals import Estimate

EARLY = 0.001  # share of tests in which the interval ever misses the true rate

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


def shows_difference(rate: Estimate) -> bool:
    """Whether the interval excludes an even rate."""
    return not rate.low <= 0.5 <= rate.high


def always_valid(seen: Tally) -> Estimate:
    """Return the win rate with an interval that holds at all looks at once, whenever the test stops.

    Bet on each prompt against a rate `m`, from a capital of 1. If `m` is the true rate, the capital ever reaches
    1 / EARLY in at most a share `EARLY` of tests (Ville 1939). The interval has all `m` with less (Waudby-Smith and
    Ramdas 2024, JRSS-B 86:1-27, arXiv 2010.09686). The bets are a fixed mixture (Robbins 1970, Ann Math Stat 41:1397),
    so the order of the prompts does not matter. The capital is log-convex in `m`, and at most 1 at the rate seen.
    """

    def excess(m: float) -> float:
        return log_capital(seen, m) + math.log(EARLY)

    low, high = (crossing(excess, end, seen.win_rate) for end in (0.0, 1.0))
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


def crossing(excess: Callable[[float], float], end: float, seen: float) -> float:
    """Return where `excess` becomes positive between the rate seen and this end of the scale; the end if nowhere."""
    from scipy.optimize import brentq  # the import takes a second

    inside = seen + (end - seen) * 1e-9  # an outcome without variance has no interval at the rate seen itself
    if end == seen or excess(end) <= 0:
        return end
    return float(brentq(excess, end, inside))


def rate_text(rate: Estimate) -> str:
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def share_text(first: str, second: str, seen: Tally, rate: Estimate) -> str:
    return f"{first} wins {rate_text(rate)} of {seen.judged:,} judged prompts against {second}"


def running_text(first: str, second: str, seen: Tally, people: str = "People") -> str:
    """Return one sentence about two policies in a test that has not reached its planned end."""
    rate = always_valid(seen)
    share = f"{share_text(first, second, seen, rate)}, by an interval that holds at every look"
    if shows_difference(rate):
        ahead, behind = (first, second) if rate.value > 0.5 else (second, first)
        return f"{people} prefer {ahead} to {behind}: {share}."
    return f"{people} show no preference so far: {share}."
