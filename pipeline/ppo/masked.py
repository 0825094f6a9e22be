"""Sums and means over the real tokens of padded rows."""

import torch
from torch import Tensor


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Return the scalar sum over the mask. Both [rows, tokens]; `values` may be NaN where `mask` is False."""
    return torch.where(mask, values, 0).sum()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the scalar mean over all real tokens of all rows, with equal weight per token. Both [rows, tokens]."""
    return masked_sum(values, mask) / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """Return values scaled to mean 0 and variance 1 over the mask, [rows, tokens]; 0 outside it.

    With `keep_mean` only the scale changes, as in reward whitening (arXiv 1909.08593, code).
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    centred = (values - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, centred + mean if keep_mean else centred, 0)
