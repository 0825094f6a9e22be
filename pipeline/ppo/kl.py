"""How far the policy is from its reference, and what that costs.

Estimates are per sampled token, from log-probabilities alone (Schulman, "Approximating KL divergence", 2020). The
coefficient is fixed, or follows a target (arXiv 1909.08593, section 2.2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log p - log p_reference: unbiased, of either sign."""
    return logprobs - reference


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """p_reference / p - 1 - log(p_reference / p): unbiased, never negative, of smaller variance."""
    return torch.expm1(reference - logprobs) + (logprobs - reference)


ESTIMATORS = {"k1": k1, "k3": k3}


@dataclass(frozen=True)
class Adaptive:
    """A coefficient that is raised while KL is above its target and lowered while it is below."""

    target: float  # nats per answer
    horizon: float  # answers over which a full error of `LIMIT` would change the coefficient by its own size


LIMIT = 0.2  # the most that a relative error counts


def adapted(coefficient: float, kl: float, answers: int, adaptive: Adaptive) -> float:
    """The coefficient after `answers` answers whose mean KL was `kl` (nats per answer)."""
    error = min(max(kl / adaptive.target - 1, -LIMIT), LIMIT)
    return coefficient * (1 + error * answers / adaptive.horizon)
