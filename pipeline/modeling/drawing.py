"""Draws tokens from a model's logits with given random numbers, so that a row's tokens do not depend on other rows."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import TopPLogitsWarper

from pipeline.modeling.passes import scaled

BLOCK = 256  # tokens whose probabilities are added up first


class SampledAnswer(NamedTuple):
    """An answer as token ids, with its stop token unless it was cut off."""

    ids: list[int]
    stopped: bool


class TokenSampler(NamedTuple):
    """The distribution that tokens are drawn from."""

    valid_ids: Tensor  # [ids] bool from `heads.ids_with_token`: ids without a token are never drawn
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # tokens are drawn from this share of the probability

    def on(self, device: torch.device) -> "TokenSampler":
        """Return the sampler for logits on a device: moved once, not for every token."""
        return self._replace(valid_ids=self.valid_ids.to(device))

    def tokens(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Return tokens, [rows]: where each row's cumulative distribution passes its random number in [0, 1).

        `logits` are [rows, vocabulary], `numbers` are [rows], on the sampler's device.
        """
        if not self.temperature:
            return self._valid(logits).argmax(-1)
        return draw_tokens(self.probabilities(logits), numbers)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each token, [rows, valid vocabulary]; the temperature is above 0."""
        logits = scaled(self._valid(logits), self.temperature)
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(None, logits)
        return logits.softmax(-1)

    def _valid(self, logits: Tensor) -> Tensor:
        """Return logits without the ids beyond the vocabulary, and minus infinity at those without a token."""
        logits = logits[:, : len(self.valid_ids)]
        valid = self.valid_ids[: logits.shape[1]]
        return logits if valid.all() else logits.masked_fill(~valid, -torch.inf)


def draw_tokens(probabilities: Tensor, random_numbers: Tensor) -> Tensor:
    """Return a token for each row, [rows], by inverting the row's cumulative distribution at its random number.

    `probabilities` [rows, vocabulary] float32, `random_numbers` [rows] in [0, 1). The distribution is searched in two
    steps, first for a block of tokens: cumulative sums in float64 of the whole would take as long as the head.
    """
    blocks = probabilities.shape[1] // BLOCK
    sums = probabilities[:, : blocks * BLOCK].reshape(len(probabilities), blocks, BLOCK).sum(-1)
    sums = torch.cat([sums, probabilities[:, blocks * BLOCK :].sum(1, keepdim=True)], 1)
    block, rest = _inverted(sums, random_numbers)
    tokens = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
    inside = probabilities.gather(1, tokens.clamp(max=probabilities.shape[1] - 1))
    token, _ = _inverted(inside.masked_fill(tokens >= probabilities.shape[1], 0), rest)
    return block * BLOCK + token


def _inverted(weights: Tensor, random_numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each random number in the distribution that weights, [rows, places], give: never one of 0.

    Also returns how far into its place each number falls, from 0 to below 1. Both [rows].
    """
    precise = torch.float32 if weights.device.type == "mps" else torch.float64
    cumulative = weights.to(precise).cumsum(1)
    wanted = random_numbers[:, None].to(precise) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, wanted, right=True).clamp(max=weights.shape[1] - 1)
    weight = weights.gather(1, place).to(precise)
    rest = 1 - (cumulative.gather(1, place) - wanted) / weight
    return place[:, 0], rest[:, 0].clamp(0, 1 - torch.finfo(precise).eps)


def numbers_of_rows(seed: int, rows: Sequence[int], count: int) -> Tensor:
    """Return the random numbers in [0, 1) of rows by their index, [rows, count]; other rows do not change them."""
    generators = [torch.Generator().manual_seed(random.Random(f"{seed} {row}").getrandbits(63)) for row in rows]
    return torch.stack([torch.rand(count, generator=own) for own in generators])
