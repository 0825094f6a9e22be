"""Figures that show whether a run improves or exploits its reward."""

from collections.abc import Sequence

import torch
from torch import Tensor


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's r; 0 if one of the two is constant or not finite."""
    if min(len(set(values)) for values in (first, second)) < 2:
        return 0.0
    return float(torch.corrcoef(torch.tensor([first, second], dtype=torch.float64))[0, 1].nan_to_num())


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Return 1 - Var(R - V) / Var(R), over tokens: 1 for exact values, 0 for values no better than a constant."""
    spread = returns.double().var(correction=0)
    return float(1 - (returns - values).double().var(correction=0) / spread) if spread > 1e-12 else 0.0


def repetition(answers: Sequence[Sequence[int]]) -> float:
    """Return the share of 3-grams that occurred earlier in the same answer."""
    total = distinct = 0
    for answer in answers:
        grams = [tuple(answer[i : i + 3]) for i in range(len(answer) - 2)]
        total, distinct = total + len(grams), distinct + len(set(grams))
    return 1 - distinct / total if total else 0.0


def distinct_share(answers: Sequence[Sequence[int]]) -> float:
    """Return the share of distinct answers: 1 if no two are equal."""
    return len({tuple(answer) for answer in answers}) / len(answers)
