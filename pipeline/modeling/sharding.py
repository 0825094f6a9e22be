"""Divides every batch of a trainer's rows among the processes, so that a step sees the same rows with any number.

accelerate's own division repeats rows from the start where the last batch of an epoch, or of an evaluation, does not
divide evenly: losses would then depend on the number of processes. Here a process may get fewer rows than the others.
One that gets none computes a filler, a row that counts for nothing, because all have to take part in a step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer

from pipeline.modeling import processes

FILLER = "is_filler"  # the key of a batch whose rows count for nothing


class SharedBatches:
    """The indices of this process's part of each batch, in the order of a sampler over all rows.

    `size` counts the rows of one pass over all processes. `whole` counts the rows of a step: with `drop_last`, rows
    after the last whole step of an epoch are left out.
    """

    def __init__(self, sampler: Any, size: int, whole: int, *, drop_last: bool) -> None:
        self.batch_sampler = sampler  # by this name, the trainer finds it and sets its epoch
        self.size, self.whole, self.drop_last = size, whole, drop_last

    def __len__(self) -> int:
        return -(-self._rows() // self.size)

    def _rows(self) -> int:
        rows = len(self.batch_sampler)
        return rows - rows % self.whole if self.drop_last else rows

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.batch_sampler)[: self._rows()]
        for start in range(0, len(order), self.size):
            yield order[start : start + self.size][processes.rank() :: processes.count()]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the sampler, which determines its order."""
        if hasattr(self.batch_sampler, "set_epoch"):
            self.batch_sampler.set_epoch(epoch)


class SharedRows(Trainer):  # type: ignore[misc]
    """A trainer whose processes share the rows of every step and of every evaluation."""

    def get_train_dataloader(self) -> Any:
        """Return the training batches; with several processes, this one's part of each."""
        loader = super().get_train_dataloader()
        if not processes.is_together():
            return loader
        size = self.args.train_batch_size * processes.count()
        whole = size * self.args.gradient_accumulation_steps
        return shared_loader(loader, size, whole, drop_last=self.args.dataloader_drop_last)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the evaluation batches; with several processes, this one's part of each."""
        loader = super().get_eval_dataloader(eval_dataset)
        if not processes.is_together():
            return loader
        size = self.args.eval_batch_size * processes.count()
        return shared_loader(loader, size, size, drop_last=False)

    def _track_num_input_tokens(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Count the tokens of a batch; those of a filler are none."""
        mask = {"attention_mask": torch.zeros_like(inputs["input_ids"])} if is_filler(inputs) else {}
        super()._track_num_input_tokens({**inputs, **mask})


def shared_loader(loader: Any, size: int, whole: int, *, drop_last: bool) -> DataLoader[Any]:
    """Return accelerate's data loader again, with its rows and their order, and batches of `SharedBatches`."""
    sampler = loader.batch_sampler.batch_sampler.sampler
    first = loader.dataset[0]
    return DataLoader(
        loader.dataset,
        batch_sampler=SharedBatches(sampler, size, whole, drop_last=drop_last),
        collate_fn=with_fillers(loader.collate_fn, first),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
    )


def with_fillers(collate: Callable[[Sequence[Any]], Any], row: Any) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Return `collate` with a filler made of `row` for a batch without rows."""

    def collated(rows: Sequence[Any]) -> dict[str, Any]:
        return dict(collate(rows)) if rows else {**collate([row]), FILLER: torch.tensor(True)}

    return collated


def is_filler(batch: Mapping[str, Any]) -> bool:
    return FILLER in batch


def without_marker(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as models take it."""
    return {name: value for name, value in batch.items() if name != FILLER}
