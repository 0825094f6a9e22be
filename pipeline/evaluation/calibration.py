"""Calibration of a reward model: its predicted probabilities for pairs, compared with people's preferences."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs with a predicted probability of the favourite in [low, high). The favourite has the higher score."""

    low: float
    high: float
    predicted: float  # mean probability
    observed: float  # share in which people preferred the favourite
    pairs: int


@dataclass(frozen=True)
class Calibration:
    """The curve, and the expected calibration error: mean |predicted - observed| over pairs (arXiv 1706.04599)."""

    bins: list[Bin]
    error: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def calibration(chosen: Sequence[float], rejected: Sequence[float], bins: int = BINS) -> Calibration:
    """Return the calibration curve from raw scores of chosen and rejected answers, [pairs] each.

    A pair's predicted probability is that of the answer with the higher score, sigmoid(|difference|), from 1/2 to 1.
    (For the chosen answers alone, every outcome would be the same.) Equal scores count as half right.
    """
    places: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for one, other in zip(chosen, rejected, strict=True):
        sure = 1 / (1 + math.exp(-abs(one - other)))
        right = 0.5 if one == other else float(one > other)
        places[min(int((sure - 0.5) * 2 * bins), bins - 1)].append((sure, right))
    found = []
    for i, inside in enumerate(places):
        if inside:
            sure, right = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            found.append(Bin(0.5 + i / (2 * bins), 0.5 + (i + 1) / (2 * bins), sure, right, len(inside)))
    error = sum(one.pairs * abs(one.predicted - one.observed) for one in found) / max(len(chosen), 1)
    return Calibration(found, error)
