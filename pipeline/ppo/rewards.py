"""From one score per answer to one reward per token."""

import torch
from torch import Tensor

from pipeline.ppo.masked import whiten


def penalized(scores: Tensor, stopped: Tensor, penalty: float) -> Tensor:
    """[rows]: an answer that did not come to its stop token costs a fixed penalty (arXiv 1909.08593; trl#3750)."""
    return torch.where(stopped, scores, scores - penalty)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float, *, whitened: bool = False) -> Tensor:
    """[rows, tokens]: what KL costs on every token, and the score on the last real one.

    `scores` [rows]; `kl` (estimates per token) and `mask` [rows, tokens]; every row has a token. Whitening divides
    all rewards by their common scale; it was found harmful and is off by default.
    """
    rewards = torch.where(mask, -coefficient * kl, 0)
    last = mask.sum(1, keepdim=True) - 1
    rewards = rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))
    return whiten(rewards, mask, keep_mean=True) if whitened else rewards
