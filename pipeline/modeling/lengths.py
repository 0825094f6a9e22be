"""Batches cut by length: of what goes through a model, little is then padding, and every step learns the same."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from pipeline.config import LaunchConfig

PARTS = 4  # micro batches of a batch on a CPU, where a pass takes as long as its tokens, padding included


def micro_batch_size(launch: LaunchConfig, batch_size: int, device: torch.device) -> int:
    """Rows of one pass: as asked for, else a whole batch, on a CPU a part of it that divides it without a rest."""
    if launch.micro_batch_size or device.type != "cpu":
        return min(launch.micro_batch_size or batch_size, batch_size)
    return max(size for size in range(1, max(batch_size // PARTS, 1) + 1) if batch_size % size == 0)


class SortedBatches(Sampler[int]):
    """Random batches, the same as without sorting, but each in the order of its rows' lengths.

    Consecutive micro batches of a batch then hold rows of similar length, and their gradients add up to the same sum.
    The order follows from seed and epoch as in accelerate's `SeedableRandomSampler`, so a resumed run meets it again.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch, and where it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.batch_size):
            yield from sorted(order[start : start + self.batch_size], key=lambda i: (self.lengths[i], i))
