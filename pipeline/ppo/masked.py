"""Means over what is really there."""

import torch
from torch import Tensor


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Scalar. `values` may hold anything, even NaN, where `mask` is False. Both [rows, tokens]."""
    return torch.where(mask, values, 0).sum()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Scalar: the mean over all real tokens of all rows, so every token weighs the same. Both [rows, tokens]."""
    return masked_sum(values, mask) / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """[rows, tokens] with mean 0 and variance 1 over the mask; 0 outside it.

    With `keep_mean` only the scale changes, as reward whitening does (arXiv 1909.08593, code).
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    centred = (values - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, centred + mean if keep_mean else centred, 0)
