"""Estimates of the KL divergence of the policy from its reference, and the coefficient of its penalty.

Estimates are per sampled token, in nats, from log-probabilities alone (Schulman, "Approximating KL divergence", 2020).
The coefficient is fixed, or follows a target (arXiv 1909.08593, section 2.2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Return log p - log p_reference: unbiased, of either sign."""
    return logprobs - reference


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Return p_reference / p - 1 - log(p_reference / p): unbiased, never negative, of smaller variance."""
    return torch.expm1(reference - logprobs) + (logprobs - reference)


ESTIMATORS = {"k1": k1, "k3": k3}


@dataclass(frozen=True)
class Adaptive:
    """A coefficient that rises while KL is above its target and falls while it is below."""

    target: float  # nats per answer
    horizon: float  # answers; a relative error e changes the coefficient by e * answers / horizon


MAX_RELATIVE_ERROR = 0.2  # relative errors are clipped to this bound, on both sides


def adapted_coefficient(coefficient: float, kl: float, answers: int, adaptive: Adaptive) -> float:
    """Return the coefficient after `answers` answers with a mean KL of `kl` (nats per answer)."""
    error = min(max(kl / adaptive.target - 1, -MAX_RELATIVE_ERROR), MAX_RELATIVE_ERROR)
    return coefficient * (1 + error * answers / adaptive.horizon)
