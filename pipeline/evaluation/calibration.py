"""Whether a reward model is as sure as it is right: what it predicts about pairs against what people preferred."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs whose favourite is predicted to win with a probability in [low, high)."""

    low: float
    high: float
    predicted: float  # mean probability
    observed: float  # share in which people preferred the favourite
    pairs: int


@dataclass(frozen=True)
class Calibration:
    """The curve, and the expected calibration error: |predicted - observed|, weighted by pairs (arXiv 1706.04599)."""

    bins: list[Bin]
    error: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def calibration(chosen: Sequence[float], rejected: Sequence[float], bins: int = BINS) -> Calibration:
    """The curve of raw scores of the answers that people chose and rejected.

    A pair's predicted probability is that of the answer with the higher score, sigmoid(|difference|), from 1/2 to 1:
    seen from the chosen side alone, every outcome would be the same. Equal scores were right half the time.
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
