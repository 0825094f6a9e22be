"""The clipped objectives of PPO (arXiv 1707.06347), as sums over tokens.

They are sums, so that micro batches add up to their global batch: the caller divides by the tokens of the global batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """Scalars, each a sum over tokens."""

    loss: Tensor
    ratio: Tensor
    approx_kl: Tensor  # k3 of the sampling policy against the policy being updated, nats
    clipped: Tensor  # number of tokens with a clipped term larger than the plain one


def policy_loss(logprobs: Tensor, sampled: Tensor, advantages: Tensor, clip: float) -> PolicyLoss:
    """Return -min(ratio A, clip(ratio, 1 - clip, 1 + clip) A), equation 7, summed over tokens. All [tokens].

    `logprobs` are those of the policy being updated, `sampled` those of the sampling policy.
    """
    difference = logprobs - sampled
    ratio = difference.exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    with torch.no_grad():
        approx_kl = torch.expm1(difference) - difference
    loss = torch.maximum(plain, clipped).sum()
    return PolicyLoss(loss, ratio.detach().sum(), approx_kl.sum(), (clipped > plain).sum())


class ValueLoss(NamedTuple):
    """Scalars, each a sum over tokens."""

    loss: Tensor
    clipped: Tensor


def value_loss(values: Tensor, before: Tensor, returns: Tensor, clip: float) -> ValueLoss:
    """Return 0.5 max((V - R)^2, (clip(V, before - clip, before + clip) - R)^2), summed over tokens. All [tokens].

    `before` holds the values at the time of sampling.
    """
    kept = torch.minimum(torch.maximum(values, before - clip), before + clip)
    plain, clipped = (values - returns) ** 2, (kept - returns) ** 2
    return ValueLoss(0.5 * torch.maximum(plain, clipped).sum(), (clipped > plain).sum())
