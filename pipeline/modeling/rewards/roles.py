"""Loads PPO's reward models, and chooses the starting weights of its value model.

A reward model that is an adapter on the same stack as the policy becomes one more adapter on that base model. Any other
reward model is a separate model, possibly with another architecture and tokenizer: answers are then decoded and
rendered again with its own template. The value model starts from the first reward model that reads the policy's tokens
(arXiv 2009.01325), with shift and scale of the score included in its head.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from pipeline.batches import cheapest_batches
from pipeline.config.nodes.models import PeftConfig
from pipeline.modeling.answering import Answer
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.heads import transformer_of
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.passes import batch_of, last_states, pass_cost
from pipeline.modeling.processes import computed, share_of
from pipeline.modeling.rewards.models import (
    HEAD,
    adapter_of,
    check_labels,
    decoder_of,
    head_of,
    load_reward,
    normalization_of,
)
from pipeline.modeling.rewards.scoring import RewardModel
from pipeline.modeling.roles import AdapterSwitch, ValueStart, adapters_below, add_adapter
from pipeline.modeling.sources import PolicySource, in_float32, source_of, tokenizer_of
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact

BATCH = 64  # answers per forward pass


class RewardAdapter:
    """A reward model that is an adapter and a head on the policy's frozen base model."""

    def __init__(self, artifact: Artifact, name: str, in_training: ModelInTraining) -> None:
        source = source_of(artifact)
        check_labels(source, artifact.name)
        self.in_training, self.model = in_training, in_training.model
        self.weights, self.peft = adapter_of(source)
        self.weight, self.bias = _head(source, artifact)
        below = adapters_below(self.model)
        add_adapter(self.model, name, self.peft, self.weights)
        self.switch = AdapterSwitch(self.model, [*below, name])

    @torch.no_grad()
    def score(self, prompts: Sequence[Messages], answers: Sequence[Answer]) -> list[float]:
        """Return one normalized score per answer, read at the last real token."""
        chat, device = self.in_training.chat, self.in_training.device
        ids = [chat.prompt(prompt) for prompt in prompts]
        self.switch()
        transformer, pad_id = transformer_of(self.model), chat.tokenizer.pad_token_id

        def scores(places: Sequence[int]) -> list[float]:
            batch = batch_of([ids[i] for i in places], [answers[i].ids for i in places], pad_id, device)
            found = last_states(transformer, batch).float() @ self.weight.to(device).T + self.bias
            return cast(list[float], found[:, 0].tolist())

        lengths = [len(prompt) + len(answer.ids) for prompt, answer in zip(ids, answers, strict=True)]
        size = share_of(BATCH, len(lengths))
        return computed(scores, cheapest_batches(lengths, size, pass_cost(transformer)))

    def start(self) -> ValueStart:
        """Return the starting weights of a value model: those of this reward model."""
        return ValueStart(self.weight, self.bias, adapter=self.weights, peft=self.peft)


def _head(source: PolicySource, artifact: Artifact) -> tuple[Tensor, float]:
    """Return weight [1, hidden] and bias of an adapter's head, with shift and scale included."""
    saved = load_file(source.adapters[-1] / "adapter_model.safetensors")
    named = {name.rpartition(".")[2]: value for name, value in saved.items() if f".{HEAD}." in name}
    shift, scale = normalization_of(artifact)
    bias = float(named["bias"]) if "bias" in named else 0.0
    return scale * named["weight"].float(), scale * (bias - shift)


class Rewards(NamedTuple):
    """The reward models of a run by their role, and the starting weights of the value model if there is one."""

    scorers: dict[str, "RewardAdapter | RewardModel"]
    start: ValueStart | None


def load_rewards(
    artifacts: dict[str, Artifact],
    in_training: ModelInTraining,
    peft: PeftConfig,
    context: StageContext,
    *,
    with_value_model: bool = True,
) -> Rewards:
    """Load every reward model, on the policy's base if possible. Raises `RequestError` like `RewardModel`."""
    scorers: dict[str, RewardAdapter | RewardModel] = {}
    start: ValueStart | None = None
    for role, artifact in artifacts.items():
        if _on_the_same_base(artifact, in_training, peft):
            adapter = RewardAdapter(artifact, role, in_training)
            scorers[role], start = adapter, start or adapter.start()
        else:
            model = RewardModel(artifact, context)
            scorers[role] = model
            needed = with_value_model and start is None and not isinstance(in_training.model, PeftModel)
            if needed and _same_tokens(artifact, in_training):
                start = _value_start_of(model, artifact, in_training)
    if not with_value_model:
        return Rewards(scorers, None)
    if start is None:
        context.say(
            "the value model starts from the policy, with a head that returns 0: no reward model can be its start"
        )
    return Rewards(scorers, start or ValueStart())


def _on_the_same_base(artifact: Artifact, in_training: ModelInTraining, peft: PeftConfig) -> bool:
    """Return whether a reward model is an adapter on the same model and adapters as the policy's new adapter."""
    if not isinstance(in_training.model, PeftModel):
        return False
    source, policy = source_of(artifact), in_training.source
    same = (source.weights, source.adapters[:-1]) == (policy.weights, policy.adapters)
    in_4_bits = policy.quantized or peft.method == "qlora"
    return bool(source.adapters) and same and source.quantized == in_4_bits and _same_tokens(artifact, in_training)


def _same_tokens(artifact: Artifact, in_training: ModelInTraining) -> bool:
    """Return whether a reward model has the policy's vocabulary and chat template, so that token ids mean the same."""
    tokenizer, _ = tokenizer_of(source_of(artifact))
    own = in_training.tokenizer
    return bool(tokenizer.get_vocab() == own.get_vocab() and tokenizer.chat_template == own.chat_template)


def _value_start_of(model: RewardModel, artifact: Artifact, in_training: ModelInTraining) -> ValueStart | None:
    """Return starting weights from a copy of a whole reward model, adapters merged; None if it has no linear head."""
    if head_of(model.model) is None:
        return None
    attention = in_training.source.attention
    source = replace(in_float32(source_of(artifact)), quantized=False, attention=attention)
    whole = load_reward(source, model.chat.tokenizer, in_training.device)
    whole = whole.merge_and_unload() if isinstance(whole, PeftModel) else whole
    return ValueStart(*model.linear_head(), backbone=decoder_of(whole))
