"""SFT and DPO with TRL, on rows that were rendered and tokenized here."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from trl import DPOConfig as TrlDpoConfig
from trl import DPOTrainer, SFTTrainer
from trl import SFTConfig as TrlSftConfig
from trl.trainer import dpo_trainer as dpo_module

from pipeline.config.losses import loss_types
from pipeline.config.nodes.learning import DpoConfig
from pipeline.config.nodes.models import SftConfig
from pipeline.errors import PipelineError
from pipeline.modeling.adapters import TRAINED, activate_adapters
from pipeline.modeling.chat.rendering import Rendered
from pipeline.modeling.figures import Counts, ExactFigures
from pipeline.modeling.fused import use_whole_head
from pipeline.modeling.heads import transformer_of, unwrapped_model
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.packing import check_packing, collate_packed, rows_per_pass
from pipeline.modeling.passes import IGNORED_LABEL
from pipeline.modeling.preferences.losses import LOSSES, Number, Pairs, reward_figures
from pipeline.modeling.preferences.pairs import LABEL_NOISE, PairCollator, RenderedPair, Sides
from pipeline.modeling.preferences.reference import reference_logprobs, with_reference
from pipeline.modeling.stored import IDS, Kind, dataset_of
from pipeline.modeling.training import early_stopping_callbacks, fine_tuning_arguments
from pipeline.stage import StageContext

# The largest difference between an answer's log-probability and the reference's before the first update, in nats, per
# square root of its tokens (roundings have either sign). bfloat16, also used to compute with 4 bits, holds a logit of
# 20 to 0.06.
START_TOLERANCE = 1e-3
HALF_START_TOLERANCE = 0.25


class SftTrainer(ExactFigures, SFTTrainer):  # type: ignore[misc]
    """TRL's SFT trainer with means over answer tokens, also for packed rows (inputs with positions)."""

    FIGURES: ClassVar = {"aux_loss": "tokens"}

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Train on one micro batch; on several if rows are packed, since a step's rows then come at once."""
        if "position_ids" not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        size = rows_per_pass(inputs, self.args.per_device_eval_batch_size)
        starts = range(0, len(inputs["input_ids"]), size)
        loss = torch.zeros((), device=self.args.device)
        for start in starts:
            part = {name: value[start : start + size] for name, value in inputs.items()}
            last = start == starts[-1]  # processes exchange gradients once: they may have other numbers of parts
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = loss + super().training_step(model, part, num_items_in_batch)
        return loss

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        return {"tokens": (inputs["labels"][:, 1:] != IGNORED_LABEL).sum()}

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        loss: Tensor = SFTTrainer.compute_loss(self, model, inputs)
        return shares["tokens"] * loss


class DpoTrainer(ExactFigures, DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on rows of token ids that include the reference's log-probabilities.

    Losses come from `preferences.losses`; TRL computes the losses that only TRL has, divergences other than the reverse
    KL, and weighted pairs. Means are over pairs, those of the SFT loss over the chosen answers' tokens. TRL's losses
    that compare the pairs of a batch with each other (aot, aot_unpaired) depend on the micro batch.
    """

    FIGURES: ClassVar = {
        **dict.fromkeys(("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"), "pairs"),
        **dict.fromkeys(("logps/chosen", "logps/rejected", "aux_loss"), "pairs"),
    }

    router_aux_loss_coef: Any  # TRL's weight of the loss that balances a mixture of experts

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._router_weight = float(self.router_aux_loss_coef)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        sides = ("prompt_ids", "chosen_ids", "rejected_ids")
        self._signature_columns = [*sides, "ref_chosen_logps", "ref_rejected_logps", LABEL_NOISE]

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        chosen, _ = inputs["completion_mask"][:, 1:].chunk(2)
        return {"pairs": torch.tensor(len(chosen), device=chosen.device), "tokens": chosen.sum()}

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        if self.model.training and self.state.global_step == 0:
            self._check_start(model, inputs)
        by_type = [shares["tokens" if name == "sft" else "pairs"] for name in self.loss_types]
        self.loss_weights = [weight * share for weight, share in zip(self.args.loss_weights, by_type, strict=True)]
        self.router_aux_loss_coef = self._router_weight * shares["pairs"]
        if uses_own_losses(self.args):
            return self._own_loss(model, inputs)
        return DPOTrainer.compute_loss(self, model, inputs)  # type: ignore[no-any-return]

    def _own_loss(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of losses, with the loss that balances experts; record figures by TRL's names."""
        output = logprobs_output(model, inputs, output_router_logits=self.aux_loss_enabled)
        pairs = _pairs_of(output.log_probs.sum(1), inputs, inputs.get(LABEL_NOISE, self.label_smoothing))
        loss = torch.zeros((), device=pairs.chosen.device)
        for name, weight in zip(self.loss_types, self.loss_weights, strict=True):
            loss = loss + LOSSES[name](pairs, self.beta).mean() * weight
        figures = reward_figures(pairs, self.beta)
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * output.aux_loss
            figures["aux_loss"] = output.aux_loss
        self.record(figures)
        return loss

    @torch.no_grad()
    def _check_start(self, model: Any, inputs: Mapping[str, Tensor]) -> None:
        policy = logprobs_output(model, inputs).log_probs.sum(1)
        reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        check_start("DPO", self, policy, reference, inputs["completion_mask"].sum(1))


def check_start(name: str, trainer: Any, policy: Tensor, reference: Tensor, tokens: Tensor) -> None:
    """Check that before the first update the policy equals its reference (DPO's sigmoid loss is then log 2).

    All tensors are [answers]. Raises `PipelineError` if an answer's log-probability differs from the reference's by
    more than rounding.
    """
    model = trainer.model
    half = trainer.args.bf16 or any(p.dtype not in (torch.float32, torch.float64) for p in model.parameters())
    off = (policy - reference).abs() / tokens.sqrt()
    worst = int(off.argmax())
    if not off[worst] <= (HALF_START_TOLERANCE if half else START_TOLERANCE):
        raise PipelineError(
            f"{name} does not start at its reference: an answer of {tokens[worst]} tokens has the log-probability "
            f"{policy[worst]:.3f} in training, and {reference[worst]:.3f} before it, with the same weights. Its first "
            f"loss would not be that of no difference. Something in {type(unwrapped_model(model)).__name__} acts in "
            "training only (dropout, for instance) or depends on padding: use a model of another architecture."
        )


def logprobs_output(model: Any, inputs: Mapping[str, Tensor], **options: bool) -> Any:
    """Return the model's output with `log_probs` of the answers, [rows, width - 1], 0 outside answer tokens."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED_LABEL)
    wanted = {name: value for name, value in options.items() if value}
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    return model(**given, **wanted, labels=labels, fused_lm_head=True)


def _pairs_of(logprobs: Tensor, inputs: Mapping[str, Tensor], label_smoothing: Number) -> Pairs:
    """Return a batch's pairs; `logprobs` is [2 pairs], with all chosen answers before the rejected ones."""
    chosen, rejected = logprobs.chunk(2)
    chosen_tokens, rejected_tokens = inputs["completion_mask"][:, 1:].sum(1).chunk(2)
    reference = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
    return Pairs(chosen, rejected, *reference, chosen_tokens, rejected_tokens, label_smoothing)


def sft_trainer(
    in_training: ModelInTraining,
    train: Sequence[Rendered],
    dev: Sequence[Rendered],
    config: SftConfig,
    context: StageContext,
) -> SftTrainer:
    """Return a trainer with the loss on the assistant's tokens only."""
    common = fine_tuning_arguments(config, context, len(train), in_training.device, half=in_training.half)
    options = {**_balancing_options(in_training, context), **common}
    if config.packing:
        options |= _packing_options(in_training, common)
    args = TrlSftConfig(**options, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    pad_id, size = in_training.tokenizer.pad_token_id, common["per_device_eval_batch_size"]
    trainer = SftTrainer(
        model=in_training.model,
        args=args,
        data_collator=(lambda rows: collate_packed(rows, pad_id, size)) if config.packing else None,
        train_dataset=dataset_of(train, LABELLED),
        eval_dataset=dataset_of(dev, LABELLED),
        processing_class=in_training.tokenizer,
        callbacks=early_stopping_callbacks(config),
    )
    use_whole_head(in_training.model)
    return trainer


def _packing_options(in_training: ModelInTraining, common: Mapping[str, Any]) -> dict[str, int]:
    """Return TRL's options for packed rows: a step's rows come at once, and `training_step` divides them.

    Raises `RequestError` if the architecture does not keep packed rows apart.
    """
    model = in_training.model
    check_packing(transformer_of(model), in_training.tokenizer.pad_token_id, in_training.source.weights)
    rows = common["per_device_train_batch_size"] * common["gradient_accumulation_steps"]
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1}


def _balancing_options(in_training: ModelInTraining, context: StageContext) -> dict[str, float]:
    """Return TRL's option for the loss that balances experts: the model's default, or 0 if TRL cannot count them."""
    text = in_training.model.config.get_text_config()
    if not hasattr(text, "output_router_logits") or hasattr(text, "num_experts"):
        return {}
    context.say("the experts are trained without a loss that balances them: TRL cannot count them in this model")
    return {"router_aux_loss_coef": 0.0}


LABELLED = Kind[Rendered](
    {"input_ids": IDS, "labels": IDS},
    lambda row: {
        "input_ids": row.ids,
        "labels": [t if learned else IGNORED_LABEL for t, learned in zip(row.ids, row.mask, strict=True)],
    },
    lambda row: Rendered(row["input_ids"], [int(label != IGNORED_LABEL) for label in row["labels"]]),
)


def dpo_trainer(
    in_training: ModelInTraining,
    train: Sequence[RenderedPair],
    test: Sequence[RenderedPair],
    config: DpoConfig,
    context: StageContext,
) -> DpoTrainer:
    """Return a trainer with the given model as its reference; its log-probabilities are computed here, once.

    So memory holds one copy of the weights, and any stack of adapters, quantized or not, can be the reference.
    """
    model, pad_id = in_training.model, in_training.tokenizer.pad_token_id
    common = fine_tuning_arguments(config, context, len(train), in_training.device, half=in_training.half)
    options = {**common, **dpo_losses(config)}
    active = list(model.base_model.active_adapters) if isinstance(model, PeftModel) else []
    batch_size = 2 * options["per_device_eval_batch_size"]  # a pair is two rows
    with in_training.autocast():  # the same precision as for the policy in training
        reference = reference_logprobs(model, Sides(train, test), pad_id, batch_size, context)
    rows = [with_reference(pairs, reference, label_noise=config.label_noise) for pairs in (train, test)]
    with _without_hash():
        trainer = DpoTrainer(
            model=model,
            args=TrlDpoConfig(
                **{"router_aux_loss_coef": 0.0, **options},  # balancing experts is off unless requested
                beta=config.beta,
                max_length=None,
                precompute_ref_log_probs=True,
            ),
            data_collator=PairCollator(pad_id),
            train_dataset=rows[0],
            eval_dataset=rows[1],
            processing_class=in_training.tokenizer,
            callbacks=early_stopping_callbacks(config),
        )
    if isinstance(model, PeftModel):  # TRL has copied the new adapter for a reference that is not needed here
        if "ref" in model.peft_config:
            model.delete_adapter("ref")
        activate_adapters(model, active or [TRAINED])
    use_whole_head(model, collisions=trainer.use_weighting)
    return trainer


@contextlib.contextmanager
def _without_hash() -> Iterator[None]:
    """Keep TRL from hashing all weights for a cache that is not used here: that takes minutes, or fails on shards."""
    real = dpo_module.hash_module
    dpo_module.hash_module = lambda model: ""
    try:
        yield
    finally:
        dpo_module.hash_module = real


def dpo_losses(config: DpoConfig) -> dict[str, list[Any]]:
    """Return loss types and weights: the user's or the default, plus the SFT loss on the chosen answers if weighted."""
    types = loss_types(config.trainer, config.label_noise)
    weights = list(config.trainer.get("loss_weights") or [1.0] * len(types))
    if config.sft_weight:
        types, weights = [*types, "sft"], [*weights, config.sft_weight]
    return {"loss_type": types, "loss_weights": weights}


def uses_own_losses(args: TrlDpoConfig) -> bool:
    """Return whether `preferences.losses` computes all losses; otherwise TRL computes all."""
    plain = args.f_divergence_type == "reverse_kl" and not args.use_weighting
    return plain and all(name in LOSSES for name in args.loss_type)
