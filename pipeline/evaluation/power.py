"""How many judged prompts tell a win rate from an even one. Pure functions."""

import math
from statistics import NormalDist

from labeling.sequential import Tally
from pipeline.evaluation.abtest import FINAL, z_of

RATE = 0.55  # the win rate to tell from 0.5, unless another is given
POWER = 0.8  # share of tests that tell it


def judgements_needed(rate: float = RATE, ties: float = 0.0, error: float = FINAL) -> int:
    """Return the number of judged prompts with which a test at the planned end tells this win rate from 0.5.

    The usual normal approximation: z(error / 2) standard errors of an even rate and z(1 - POWER) of the given one fit
    between the two rates. `ties` is the expected share of ties. Raises ValueError for a rate of 0.5.
    """
    gap = abs(rate - 0.5)
    if not gap:
        raise ValueError("no number of judgements tells a rate of 0.5 from 0.5")
    even = (1 - ties) / 4  # the variance of an outcome with a mean of 0.5
    spread = z_of(error) * math.sqrt(even) + NormalDist().inv_cdf(POWER) * math.sqrt(max(even - gap**2, 0.0))
    return math.ceil((spread / gap) ** 2)


def detectable_rate(judged: int) -> float:
    """Return the smallest win rate above 0.5 that this number of judged prompts tells from 0.5; 1 if there is none."""
    from scipy.optimize import brentq  # the import takes a second

    if judgements_needed(1.0) >= judged:
        return 1.0
    return float(brentq(lambda rate: judgements_needed(rate) - judged, 0.5 + 1e-6, 1.0, xtol=1e-4))


def more_needed(seen: Tally) -> int | None:
    """Return how many more judged prompts would tell the rate seen from 0.5, if it is the true one.

    None if it is even: then there is no such number.
    """
    if seen.wins == seen.losses:
        return None
    return max(judgements_needed(seen.win_rate, seen.ties / seen.judged) - seen.judged, 1)


def rounded(count: float) -> str:
    """Return a count with two digits, as estimates are shown: 783 becomes 780."""
    size = 10 ** max(math.floor(math.log10(max(count, 1))) - 1, 0)
    return f"{round(count / size) * size:,}"
