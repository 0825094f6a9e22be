"""What one iteration gathers, and in which batches it is learned from."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.batches import batches_by_length


class Rollouts(NamedTuple):
    """Answers of the policy and all that is known about them.

    Answer tensors are aligned to the left: column 0 is the answer's first token, its stop token is the last real one.
    """

    prompts: list[list[int]]  # [rows] token ids
    answers: list[list[int]]  # [rows] token ids, cut after the first stop token
    stopped: Tensor  # [rows] bool: came to its stop token
    mask: Tensor  # [rows, tokens] bool: real tokens
    logprobs: Tensor  # [rows, tokens] of the policy that sampled, at the sampling temperature
    reference: Tensor  # [rows, tokens] log-probabilities of the reference, at the same temperature
    values: Tensor  # [rows, tokens] what the value model expects from before this token on
    entropy: Tensor  # [rows, tokens] of the policy's distribution, in nats
    scores: Tensor  # [rows] of the rewards, without KL and penalty


class Targets(NamedTuple):
    """What the update learns from, all [rows, tokens]."""

    advantages: Tensor  # whitened over the mask
    returns: Tensor


def answer_mask(lengths: Sequence[int]) -> Tensor:
    """[rows, longest] bool: True for the first `lengths[i]` tokens of row i."""
    counts = torch.tensor(lengths)
    return torch.arange(int(counts.max()))[None] < counts[:, None]


def batches(count: int, size: int, lengths: Sequence[int], micro: int, key: str) -> list[list[list[int]]]:
    """A fresh permutation of `count` rows as batches of `size`, each of these as micro batches of `micro` rows.

    Within a batch, rows are sorted by length, so that little of a micro batch is padding. `key` is the seed.
    """
    order = list(range(count))
    random.Random(key).shuffle(order)
    return [batches_by_length(lengths, micro, order[i : i + size]) for i in range(0, count, size)]


def cycled(count: int, start: int, number: int, key: str) -> list[int]:
    """`number` of `count` prompts from the cursor `start` on: each epoch in a fresh order of its own."""
    picked: list[int] = []
    for epoch in range(start // count, (start + number - 1) // count + 1):
        order = list(range(count))
        random.Random(f"{key} {epoch}").shuffle(order)
        low, high = max(start - epoch * count, 0), min(start + number - epoch * count, count)
        picked += order[low:high]
    return picked


def sampling_seed(seed: int, iteration: int, rank: int) -> int:
    """Every process draws different answers, and a resumed run the same as an unbroken one."""
    return random.Random(f"{seed} {iteration} {rank}").getrandbits(63)
