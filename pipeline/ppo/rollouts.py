"""The rollouts of one iteration, and their division into batches."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.batches import cheapest_batches


class Rollouts(NamedTuple):
    """Answers of the policy with their log-probabilities, values and scores. Answers to one prompt are neighbours.

    Answer tensors are aligned to the left: column 0 is the answer's first token; a stop token is the last real one.
    """

    prompts: list[list[int]]  # [rows] token ids
    answers: list[list[int]]  # [rows] token ids, cut after the first stop token
    stopped: Tensor  # [rows] bool: the answer ends with its stop token
    mask: Tensor  # [rows, tokens] bool: real tokens
    logprobs: Tensor  # [rows, tokens] log-probabilities of the sampling policy, at the sampling temperature
    reference: Tensor  # [rows, tokens] log-probabilities of the reference, at the same temperature
    values: Tensor | None  # [rows, tokens] the value model's estimate from the state before this token
    entropy: Tensor  # [rows, tokens] of the policy's distribution, in nats
    scores: Tensor  # [rows] weighted sum of all sources of reward, without KL and penalty
    sampler: Tensor | None = None  # [rows, tokens] log-probabilities by which a server drew; None: the policy's own


class Sampled(NamedTuple):
    """Answers as the policy measures them and as their sampler drew them, [rows, tokens] each."""

    mask: Tensor  # bool: real tokens
    logprobs: Tensor  # of the policy, at the sampling temperature
    entropy: Tensor  # of the policy's distribution, in nats
    sampler: Tensor | None  # log-probabilities that the sampler drew with; None if the policy itself drew


class Targets(NamedTuple):
    """The targets of the update, [rows, tokens] each."""

    advantages: Tensor
    returns: Tensor | None  # None without a value model


def answer_mask(lengths: Sequence[int]) -> Tensor:
    """Return the mask, [rows, longest] bool: True for the first `lengths[i]` tokens of row i."""
    counts = torch.tensor(lengths)
    return torch.arange(int(counts.max()))[None] < counts[:, None]


def aligned(rows: Sequence[Sequence[float]], mask: Tensor) -> Tensor:
    """Return the numbers of each row, one per real token, as a table of the mask's shape and device; 0 elsewhere."""
    flat = torch.tensor([one for row in rows for one in row], device=mask.device)
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def batches(
    count: int, size: int, lengths: Sequence[int], micro_batch_size: int, key: str, *, pass_cost: int
) -> list[list[list[int]]]:
    """Return a new permutation of `count` rows as batches of `size` rows, each divided into micro batches.

    Micro batches have at most `micro_batch_size` rows of similar length; see `cheapest_batches`. `key` is the seed.
    """
    order = list(range(count))
    random.Random(key).shuffle(order)
    starts = range(0, count, size)
    return [cheapest_batches(lengths, micro_batch_size, pass_cost, order[i : i + size]) for i in starts]


def next_prompts(count: int, start: int, number: int, key: str) -> list[int]:
    """Return the indices of the next `number` of `count` prompts from the cursor `start` on.

    Each epoch over the prompts has its own random order, from the seed `key`.
    """
    picked: list[int] = []
    for epoch in range(start // count, (start + number - 1) // count + 1):
        order = list(range(count))
        random.Random(f"{key} {epoch}").shuffle(order)
        low, high = max(start - epoch * count, 0), min(start + number - epoch * count, count)
        picked += order[low:high]
    return picked


def sampling_seed(seed: int, iteration: int) -> int:
    """Return a seed per iteration, so that a resumed run draws the same answers as an unbroken one."""
    return random.Random(f"{seed} {iteration} 0").getrandbits(63)
