"""How far a sampler is from the policy, and the weights that make up for it.

A server computes with other kernels and another precision, so it draws from a distribution near the policy's. PPO's
ratio starts from the policy's own log-probabilities, and a token's loss is weighted by p_policy / p_sampler, truncated
(Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", 2025).

Pure functions of log-probabilities at the sampling temperature, in nats. Tokens were drawn by the sampler.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.ppo.masked import masked_mean


def truncated_weights(logprobs: Tensor, sampler: Tensor, cap: float) -> Tensor:
    """Return min(p_policy / p_sampler, cap) of each token; any shape."""
    return (logprobs - sampler).exp().clamp(max=cap)


def sampler_figures(logprobs: Tensor, sampler: Tensor, mask: Tensor, cap: float | None) -> dict[str, float]:
    """Return how far the sampler is from the policy, for the log. All [rows, tokens].

    `sampler_kl` estimates KL(sampler || policy) in nats per token, without bias and so of either sign.
    """
    difference = torch.where(mask, sampler - logprobs, 0)
    figures = {
        "sampler_kl": float(masked_mean(difference, mask)),
        "sampler_difference": float(masked_mean(difference.abs(), mask)),
        "sampler_difference_max": float(difference.abs().max()),
    }
    if cap is None:
        return figures
    weights, capped = truncated_weights(logprobs, sampler, cap), logprobs - sampler > math.log(cap)
    shares = {"importance_weight": weights, "importance_capped": capped.to(weights.dtype)}
    return figures | {name: float(masked_mean(values, mask)) for name, values in shares.items()}


class Deviation(NamedTuple):
    """The mean of values that are 0 on average, and its distance from 0 in standard errors."""

    mean: float
    z: float


def deviation(sums: Tensor) -> Deviation:
    """Return the deviation of values from their count, sum and sum of squares, [3]: those of parts can be added."""
    count, total, squares = sums.tolist()
    return Deviation(total / max(count, 1), total / math.sqrt(squares) if squares else 0.0)


def sums_of(values: Tensor) -> Tensor:
    """Return count, sum and sum of squares of values, [3] float64."""
    values = values.double()
    return torch.stack([values.new_tensor(float(values.numel())), values.sum(), (values**2).sum()])


class Arrival(NamedTuple):
    """How much of a change of the policy the sampler has: 1 all of it, 0 none."""

    share: float
    error: float  # standard error; infinite if the policy did not change


def arrival_sums(logprobs: Tensor, before: Tensor, sampler: Tensor) -> Tensor:
    """Return what `arrival` needs of some tokens, [4] float64: those of parts can be added. All [tokens].

    `before` are log-probabilities under the policy before the change.
    """
    change, seen = (logprobs - before).double(), (sampler - before).double()
    count = change.new_tensor(float(change.numel()))
    return torch.stack([count, (change**2).sum(), (change * seen).sum(), (seen**2).sum()])


def arrival(sums: Tensor) -> Arrival:
    """Return the share of a change that the sampler has, by least squares: sampler - before = share (now - before).

    Differences between kernels are not related to the change, so they widen the error and leave the share as it is.
    """
    count, change, common, seen = sums.tolist()
    if not change or count < 2:
        return Arrival(1.0, math.inf)
    share = common / change
    return Arrival(share, math.sqrt(max(seen - share * common, 0.0) / (count - 1) / change))
