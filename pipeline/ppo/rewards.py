"""Turns one score per answer into one reward per token."""

import torch
from torch import Tensor

from pipeline.ppo.masked import whiten


def penalized(scores: Tensor, stopped: Tensor, penalty: float) -> Tensor:
    """Return scores, [rows], lowered by a fixed penalty if the stop token is missing (arXiv 1909.08593; trl#3750)."""
    return torch.where(stopped, scores, scores - penalty)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float, *, whitened: bool = False) -> Tensor:
    """Return rewards, [rows, tokens]: the KL penalty on every token, plus the score on the last real token.

    `scores` [rows]; `kl` (estimates per token) and `mask` [rows, tokens]; every row has a token. `whitened` divides
    all rewards by their common standard deviation; it was found harmful and is off by default.
    """
    rewards = torch.where(mask, -coefficient * kl, 0)
    last = mask.sum(1, keepdim=True) - 1
    rewards = rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))
    return whiten(rewards, mask, keep_mean=True) if whitened else rewards
