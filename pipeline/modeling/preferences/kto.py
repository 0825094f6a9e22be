"""KTO (arXiv 2402.01306): training on answers that are each marked as good or bad.

The loss compares an answer's log-ratio with a reference point, an estimate of the KL divergence of the policy from its
reference. As in the paper, it is the mean log-ratio of answers that belong to other prompts. The paper pairs the rows
of a micro batch; here every row gets an answer to another prompt in advance, and the mean is over all rows of a step
(or of an evaluation), so that it does not depend on the division into micro batches.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainingArguments
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.utils import disable_dropout_in_model

from pipeline.config.nodes.learning import KtoConfig
from pipeline.errors import RequestError
from pipeline.modeling.figures import Counts, ExactFigures
from pipeline.modeling.fused import use_whole_head
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.passes import pad_rows
from pipeline.modeling.preferences.losses import Marks, kto, reference_point
from pipeline.modeling.preferences.reference import Key, key_of, reference_logprobs
from pipeline.modeling.processes import gathered
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.modeling.sharding import is_filler, without_marker
from pipeline.modeling.training import early_stopping_callbacks, fine_tuning_arguments
from pipeline.modeling.tuning import check_start, logprobs_output
from pipeline.stage import StageContext


class MarkedRow(NamedTuple):
    """An answer as token ids, with its mark: good or bad."""

    answered: AnsweredPrompt
    good: bool


class KtoTrainer(ExactFigures):
    """Trains KTO on rows of `_dataset`. Means are over answers; those of rewards over good or over bad answers."""

    FIGURES: ClassVar = {
        "rewards/good": "good",
        "rewards/bad": "bad",
        **dict.fromkeys(("rewards/accuracies", "kl"), "answers"),
    }

    def __init__(self, config: KtoConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self._metrics: dict[str, dict[str, list[float]]] = {mode: defaultdict(list) for mode in ("train", "eval")}
        self._reference_point = torch.zeros(())

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt", "answer", "other", "good", "reference", "other_reference"]

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        good = inputs["good"].sum()
        answers = torch.tensor(len(inputs["good"]), device=good.device)
        return {"answers": answers, "good": good, "bad": answers - good}

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        logprobs = logprobs_output(model, inputs).log_probs.sum(1)
        if self.model.training and self.state.global_step == 0:
            check_start("KTO", self, logprobs, inputs["reference"], inputs["completion_mask"].sum(1))
        marks = Marks(logprobs - inputs["reference"], inputs["good"], self._reference_point.to(logprobs.device))
        self._record_figures(marks)
        losses = kto(marks, self.config.beta, self.config.good_weight, self.config.bad_weight)
        return losses.mean() * shares["answers"]

    @torch.no_grad()
    def _record_figures(self, marks: Marks) -> None:
        """Record the figures of a micro batch.

        Accuracy counts a good answer as right if its log-ratio is above the reference point, a bad one if it is not.
        """
        rewards, good, point = self.config.beta * marks.log_ratios, marks.good, marks.reference_point
        self.record(
            {
                "rewards/good": rewards[good].sum() / good.sum().clamp(min=1),
                "rewards/bad": rewards[~good].sum() / (~good).sum().clamp(min=1),
                "rewards/accuracies": ((marks.log_ratios > point) == good).float().mean(),
                "kl": point,
            }
        )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Counts]:
        """Return the micro batches of a step; first estimate the reference point over all of them."""
        batches, counts = super().get_batch_samples(*args, **kwargs)
        if batches:
            self._reference_point = self._estimate_reference_point(batches)
        return batches, counts

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        self.model.eval()
        self._reference_point = self._estimate_reference_point(dataloader)
        return super().evaluation_loop(dataloader, *args, **kwargs)

    @torch.no_grad()
    def _estimate_reference_point(self, batches: Iterable[dict[str, Any]]) -> Tensor:
        """Return the reference point over several batches, a scalar."""
        ratios = []
        for batch in batches:  # fillers, too: all processes pass through a sharded model equally often
            inputs = self._prepare_inputs(without_marker(batch))
            other = {name.removeprefix("other_"): inputs[name] for name in inputs if name.startswith("other_")}
            with self.compute_loss_context_manager():
                found = logprobs_output(self.model, other).log_probs.sum(1) - other["reference"]
            ratios += [] if is_filler(batch) else [found]
        own = torch.cat(ratios).tolist() if ratios else []
        values = [ratio for part in gathered(own) for ratio in part]
        return reference_point(torch.tensor(values, device=self.args.device))


def kto_trainer(
    in_training: ModelInTraining,
    train: Sequence[MarkedRow],
    test: Sequence[MarkedRow],
    config: KtoConfig,
    context: StageContext,
) -> KtoTrainer:
    """Return a trainer with the given model as its reference, as in `dpo_trainer`; dropout is off.

    Raises `RequestError` if all answers belong to one prompt.
    """
    model, pad_id = in_training.model, in_training.tokenizer.pad_token_id
    options = fine_tuning_arguments(config, context, len(train), in_training.device, half=in_training.half)
    parts = [pair_with_others(part, config.seed) for part in (train, test)]
    answers = [answer for part in parts for row, other in part for answer in (row.answered, other)]
    with in_training.autocast():  # the same precision as for the policy in training
        reference = reference_logprobs(model, answers, pad_id, options["per_device_eval_batch_size"], context)
    disable_dropout_in_model(model)
    trainer = KtoTrainer(
        config,
        model=model,
        args=TrainingArguments(**options),
        data_collator=lambda rows: collate_rows(rows, pad_id),
        train_dataset=_dataset(parts[0], reference),
        eval_dataset=_dataset(parts[1], reference),
        processing_class=in_training.tokenizer,
        callbacks=early_stopping_callbacks(config),
    )
    use_whole_head(model)
    return trainer


def pair_with_others(rows: Sequence[MarkedRow], seed: int) -> list[tuple[MarkedRow, AnsweredPrompt]]:
    """Return each row with an answer to another prompt, placed after its own prompt: the next one in a random order.

    Raises `RequestError` if all answers belong to one prompt.
    """
    order = random.Random(f"others {seed}").sample(range(len(rows)), len(rows))
    others: dict[int, AnsweredPrompt] = {}
    for place, number in enumerate(order):
        prompt = rows[number].answered.prompt
        following = (rows[order[(place + step) % len(order)]].answered for step in range(1, len(order)))
        other = next((answered for answered in following if answered.prompt != prompt), None)
        if other is None:
            raise RequestError("KTO compares answers to different prompts, and all marked answers are to one.")
        others[number] = AnsweredPrompt(prompt, other.answer)
    return [(row, others[number]) for number, row in enumerate(rows)]


def _dataset(rows: Sequence[tuple[MarkedRow, AnsweredPrompt]], reference: Mapping[Key, float]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": row.answered.prompt,
                "answer": row.answered.answer,
                "other": other.answer,
                "good": row.good,
                "reference": reference[key_of(row.answered)],
                "other_reference": reference[key_of(other)],
            }
            for row, other in rows
        ]
    )


def collate_rows(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Join rows into one batch: their answers, and the answers to other prompts under names with `other_`.

    Ids and masks are [rows, width]; marks and log-probabilities under the reference are [rows].
    """
    batch: dict[str, Tensor] = {"good": torch.tensor([row["good"] for row in rows])}
    for prefix, name in (("", "answer"), ("other_", "other")):
        ids, attention = pad_rows([row["prompt"] + row[name] for row in rows], pad_id)
        prompts = torch.tensor([len(row["prompt"]) for row in rows])[:, None]
        batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"] = ids, attention
        batch[f"{prefix}completion_mask"] = attention * (torch.arange(ids.shape[1]) >= prompts)
        batch[f"{prefix}reference"] = torch.tensor([row[f"{prefix}reference"] for row in rows])
    return batch
