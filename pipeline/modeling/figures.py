"""Losses and figures that do not depend on the division of rows into micro batches.

A micro batch contributes its share of the whole: of a step's batch in training, of all rows in evaluation. The shares
add up to the mean over rows, or over tokens, and so do the gradients; a smaller last batch counts by its number of
rows. (TRL takes means of batch means.)
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.trainer_utils import EvalLoopOutput

from pipeline.modeling.exact_checkpoints import ExactCheckpoints, check_finite
from pipeline.modeling.sharding import is_filler, without_marker

Counts = dict[str, Tensor]  # numbers of rows, tokens, …, by name


class ExactFigures(ExactCheckpoints):
    """A trainer with exact means for its losses, its gradients and its `FIGURES`.

    A mixin in front of one of TRL's trainers; `counts` gives the denominators of all means for a batch.
    """

    FIGURES: ClassVar[Mapping[str, str]] = {}  # TRL's name of a mean over a batch -> the name of its count
    loss_is_scaled_for_ga = True  # tells transformers that a micro batch's loss is already its share

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted: dict[str, list[Counts]] = defaultdict(list)  # mode -> the counts for each of TRL's batch means
        self._rows_to_evaluate: Counts = {}
        self._own: Counts = {}  # the counts of the batch in work
        self._evaluation_loss = 0.0

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        """Return the counts of a batch: the denominators of all means."""
        raise NotImplementedError

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        """Return the batch's part of the loss of the whole; `shares` are its counts divided by those of the whole."""
        raise NotImplementedError

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Counts | None = None,
    ) -> Any:
        """Return the batch's part of the loss; `num_items_in_batch` holds the counts of the whole."""
        own, inputs = self._counts_of(inputs), without_marker(inputs)
        whole, self._own = num_items_in_batch or own, own
        loss = self.share_of_loss(model, inputs, {name: count / whole[name] for name, count in own.items()})
        self._counted[self._mode].append({name: self.accelerator.gather(count).sum() for name, count in own.items()})
        return (loss, None) if return_outputs else loss

    def _counts_of(self, batch: Mapping[str, Tensor]) -> Counts:
        """Return the counts of a batch; those of a filler are 0."""
        own = self.counts(without_marker(batch))
        return {name: torch.zeros_like(count) for name, count in own.items()} if is_filler(batch) else own

    def record(self, figures: Mapping[str, Tensor]) -> None:
        """Record a batch's means, scalars by the names of `FIGURES`, where TRL's own losses record theirs.

        With several processes, they are means over the parts of all.
        """
        for name, value in figures.items():
            values = self.accelerator.gather(value.detach().float())
            if len(values.view(-1)) > 1:
                counts = self.accelerator.gather(self._own[self.FIGURES[name]])
                values = (values * counts).sum() / counts.sum().clamp(min=1)
            self._metrics[self._mode][name].append(values.mean().item())

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Counts]:
        """Return the micro batches of a step, and the sum of their counts."""
        batches, _ = super().get_batch_samples(*args, **kwargs)
        return batches, self._whole(batches)

    def _whole(self, batches: Iterable[Mapping[str, Tensor]]) -> Counts:
        """Return the summed counts of several batches; the mean over processes, as for gradients."""
        sums: Counts = {}
        for batch in batches:
            for name, count in self._counts_of(batch).items():
                sums[name] = sums.get(name, torch.zeros_like(count)) + count
        gathered = {name: self.accelerator.gather(count.to(self.args.device)) for name, count in sums.items()}
        return {name: counts.sum() / self.accelerator.num_processes for name, counts in gathered.items()}

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate as transformers does, with the exact loss. Raises `PipelineError` if the loss is not finite."""
        self._rows_to_evaluate, self._evaluation_loss = self._whole(dataloader), 0.0
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        check_finite("evaluation loss", self._evaluation_loss, self.state)
        output.metrics[f"{kwargs.get('metric_key_prefix', 'eval')}_loss"] = self._evaluation_loss
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """Compute the loss of one batch and add it to the sum."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=self._rows_to_evaluate)
        self._evaluation_loss += float(self.accelerator.gather(loss).mean())
        return loss, None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log means over counts in place of TRL's means over batches; leave out figures without a count."""
        means, counted = self._metrics[self._mode], self._counted.pop(self._mode, [])
        exact = {
            name: weighted_mean(means[name], [float(counts[over]) for counts in counted])
            for name, over in self.FIGURES.items()
            if means.get(name) and any(counts[over] for counts in counted)
        }
        means.clear()
        prefix = "eval_" if self._mode == "eval" else ""
        super().log({**logs, **{prefix + name: value for name, value in exact.items()}}, start_time)


def weighted_mean(values: list[float], weights: list[float]) -> float:
    """Return the mean of the values, weighted by counts."""
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
