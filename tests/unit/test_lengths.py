"""Batches cut by length: the same rows in each step, little padding, and an order that a resumed run meets again."""

import random

import pytest


def test_every_batch_has_the_rows_that_it_would_have_unsorted():
    import torch

    from pipeline.modeling.lengths import SortedBatches

    lengths = [random.Random(i).randint(1, 50) for i in range(70)]
    order = list(SortedBatches(lengths, 32, seed=3))
    unsorted = torch.randperm(70, generator=torch.Generator().manual_seed(3)).tolist()
    for start in range(0, 70, 32):
        batch = order[start : start + 32]
        assert sorted(batch) == sorted(unsorted[start : start + 32])
        assert [lengths[i] for i in batch] == sorted(lengths[i] for i in batch)


def test_the_order_is_that_of_seed_and_epoch():
    from pipeline.modeling.lengths import SortedBatches

    def of(seed: int, epoch: int) -> list[int]:
        sampler = SortedBatches([5] * 40, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert of(0, 1) == of(0, 1)
    assert of(0, 1) != of(0, 0)
    assert of(0, 0) != of(2, 0)


@pytest.mark.parametrize(
    ("asked", "device", "batch", "size"),
    [
        (None, "cpu", 32, 8),
        (None, "cpu", 6, 1),  # a part divides its batch: what is added up is exactly that batch
        (None, "cpu", 18, 3),
        (None, "cpu", 3, 1),
        (None, "cuda", 32, 32),
        (5, "cpu", 32, 5),
        (64, "cuda", 32, 32),
    ],
)
def test_rows_of_one_pass(asked: int | None, device: str, batch: int, size: int):
    import torch

    from pipeline.config import LaunchConfig
    from pipeline.modeling.lengths import micro_batch_size

    assert micro_batch_size(LaunchConfig(micro_batch_size=asked), batch, torch.device(device)) == size
