"""Generalized advantage estimation (arXiv 1506.02438) for answers of finite length."""

import torch
from torch import Tensor


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, [rows, tokens] each, 0 outside the mask; neither is whitened.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1} (equations 11, 16); the return is
    A_t + V_t. After an answer's last token V and A are 0, both for an answer that stopped and for one that was cut off.
    Rows are aligned to the left: a row's mask is a run of True, then False.
    """
    rewards, values = torch.where(mask, rewards, 0), torch.where(mask, values, 0)
    advantages = torch.zeros_like(rewards)
    following = value_after = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + gamma * value_after - values[:, t] + gamma * lam * following
        advantages[:, t] = following
        value_after = values[:, t]
    return advantages, advantages + values
