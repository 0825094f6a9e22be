"""Draws tokens from a model's logits with given random numbers, so that a row's tokens do not depend on other rows."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import TopPLogitsWarper


class SampledAnswer(NamedTuple):
    """An answer as token ids, with its stop token unless it was cut off."""

    ids: list[int]
    stopped: bool


class TokenSampler(NamedTuple):
    """The distribution that tokens are drawn from."""

    valid_ids: Tensor  # [ids] bool from `heads.ids_with_token`: ids without a token are never drawn
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # tokens are drawn from this share of the probability

    def tokens(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Return tokens, [rows]: where each row's cumulative distribution passes its random number in [0, 1).

        `logits` are [rows, vocabulary], `numbers` are [rows].
        """
        logits = logits[:, : len(self.valid_ids)].float()
        valid = self.valid_ids[: logits.shape[1]].to(logits.device)
        logits = logits.masked_fill(~valid, -torch.inf)
        if not self.temperature:
            return logits.argmax(-1)
        logits = logits / self.temperature
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(None, logits)
        precise = torch.float32 if logits.device.type == "mps" else torch.float64
        cumulative = logits.softmax(-1).cumsum(-1, dtype=precise)
        wanted = numbers[:, None].to(precise) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def numbers_of_rows(seed: int, rows: Sequence[int], count: int) -> Tensor:
    """Return the random numbers in [0, 1) of rows by their index, [rows, count]; other rows do not change them."""
    generators = [torch.Generator().manual_seed(random.Random(f"{seed} {row}").getrandbits(63)) for row in rows]
    return torch.stack([torch.rand(count, generator=own) for own in generators])
