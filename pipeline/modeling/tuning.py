"""SFT and DPO on TRL, over rows that were rendered and tokenized here."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import EarlyStoppingCallback
from trl import DPOConfig as TrlDpoConfig
from trl import DPOTrainer, SFTTrainer
from trl import SFTConfig as TrlSftConfig

from pipeline.config import DpoConfig, SftConfig, TrainingConfig
from pipeline.modeling.policy import TRAINED, activate
from pipeline.modeling.rendering import Rendered
from pipeline.modeling.scoring import Answered, answer_logprobs
from pipeline.modeling.trainee import Trainee
from pipeline.modeling.training import ExactCheckpoints, tuning_arguments
from pipeline.stage import StageContext

IGNORED = -100  # a label that takes no part in the loss


class SftTrainer(ExactCheckpoints, SFTTrainer):  # type: ignore[misc]
    """TRL's SFT with checkpoints of what is trained."""


class DpoTrainer(ExactCheckpoints, DPOTrainer):  # type: ignore[misc]
    """TRL's DPO over rows that are token ids already and carry the reference's log-probabilities."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def sft_trainer(
    trainee: Trainee, train: Sequence[Rendered], dev: Sequence[Rendered], config: SftConfig, context: StageContext
) -> SftTrainer:
    """A trainer whose loss is on the assistant's tokens only."""
    options = tuning_arguments(config, context, len(train), trainee.device)
    args = TrlSftConfig(**options, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    return SftTrainer(
        model=trainee.model,
        args=args,
        train_dataset=_labelled(train),
        eval_dataset=_labelled(dev),
        processing_class=trainee.tokenizer,
        callbacks=_early_stopping(config),
    )


def _labelled(rows: Sequence[Rendered]) -> Dataset:
    labels = [[t if m else IGNORED for t, m in zip(row.ids, row.mask, strict=True)] for row in rows]
    return Dataset.from_dict({"input_ids": [row.ids for row in rows], "labels": labels})


Pair = tuple[Answered, Answered]  # chosen, rejected: the same prompt


def dpo_trainer(
    trainee: Trainee, train: Sequence[Pair], test: Sequence[Pair], config: DpoConfig, context: StageContext
) -> DpoTrainer:
    """A trainer whose reference is the model as it is handed in: its log-probabilities are computed here, once.

    So no second copy of the weights is kept, and any stack of adapters, quantized or not, can be the reference.
    """
    model, pad_id = trainee.model, trainee.tokenizer.pad_token_id
    options = {**tuning_arguments(config, context, len(train), trainee.device), **dpo_losses(config)}
    active = list(model.base_model.active_adapters) if isinstance(model, PeftModel) else []
    batch_size = 2 * options["per_device_eval_batch_size"]  # a pair is two rows
    reference = _reference(model, [*train, *test], pad_id, batch_size, context)
    rows = [_with_reference(pairs, reference) for pairs in (train, test)]
    trainer = DpoTrainer(
        model=model,
        args=TrlDpoConfig(**options, beta=config.beta, max_length=None, precompute_ref_log_probs=True),
        train_dataset=rows[0],
        eval_dataset=rows[1],
        processing_class=trainee.tokenizer,
        callbacks=_early_stopping(config),
    )
    if isinstance(model, PeftModel):  # TRL made a copy of the new adapter for a reference that is not needed here
        if "ref" in model.peft_config:
            model.delete_adapter("ref")
        activate(model, active or [TRAINED])
    return trainer


def dpo_losses(config: DpoConfig) -> dict[str, list[Any]]:
    """TRL's loss types and weights: the user's, or plain DPO, and beside it the SFT loss on the chosen answers."""
    wanted = config.trainer.get("loss_type", "sigmoid")
    types = [wanted] if isinstance(wanted, str) else list(wanted)
    weights = list(config.trainer.get("loss_weights") or [1.0] * len(types))
    if config.sft_weight:
        types, weights = [*types, "sft"], [*weights, config.sft_weight]
    return {"loss_type": types, "loss_weights": weights}


Key = tuple[tuple[int, ...], tuple[int, ...]]


def _key(row: Answered) -> Key:
    return tuple(row.prompt), tuple(row.answer)


def _reference(
    model: Any, pairs: Sequence[Pair], pad_id: int, batch_size: int, context: StageContext
) -> dict[Key, float]:
    """log p(answer | prompt) of every answer, each once: in a ranking an answer is on a side of several pairs."""
    rows = {_key(side): side for pair in pairs for side in pair}
    model.eval()
    with context.progress("reference", len(rows)) as advance:
        values = answer_logprobs(model, [*rows.values()], pad_id=pad_id, batch_size=batch_size, advance=advance)
    return dict(zip(rows, values, strict=True))


def _with_reference(pairs: Sequence[Pair], reference: Mapping[Key, float]) -> Dataset:
    columns: dict[str, list[Any]] = {"prompt_ids": [pair[0].prompt for pair in pairs]}
    for side, name in enumerate(("chosen", "rejected")):
        columns[f"{name}_ids"] = [pair[side].answer for pair in pairs]
        columns[f"ref_{name}_logps"] = [reference[_key(pair[side])] for pair in pairs]
    return Dataset.from_dict(columns)


def _early_stopping(config: TrainingConfig) -> list[EarlyStoppingCallback]:
    return [EarlyStoppingCallback(config.patience)] if config.early_stopping else []
