"""The models of PPO by role: policy, reference and value model, as separate models or on one frozen base model.

`peft=full`: the policy, its frozen copy as the reference, and a value model with its own backbone. `lora` and `qlora`:
the reference is a frozen base model with the SFT policy's adapters; the policy adds a new adapter to it, the value
model another one and a head, so only one copy of the base model is in memory. Before the first update policy and
reference give bitwise equal results. Dropout is off in all of them (arXiv 2009.01325). There is no value model where
advantages come from groups of answers.
"""

import contextlib
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.modeling.adapters import TRAINED, lora_config, with_adapter
from pipeline.modeling.heads import LanguageHead, transformer_of, unwrapped_model
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.passes import Batch, TokenLogprobs, answer_states, backward_in_chunks, entropy, token_logprobs
from pipeline.store.artifact import Artifact

VALUE = "value"  # the name of the value model's adapter, and of its folder in an artifact
VALUE_FILE = "value.safetensors"


@dataclass(frozen=True)
class Role:
    """A model in one role: the transformer, the head on top, and a function that activates its adapters."""

    decoder: Any
    head: Any
    switch: Callable[[], None] = field(default=lambda: None)

    def states(self, batch: Batch) -> Tensor:
        """Return the state before each token of the answers, [answer tokens, hidden]."""
        self.switch()
        return answer_states(self.decoder, batch)


class ValueStart(NamedTuple):
    """The starting weights of the value model: those of a reward model, or by default a head that returns 0."""

    weight: Tensor | None = None  # [1, hidden] of the head, with shift and scale of the score included
    bias: float = 0.0
    backbone: Any | None = None  # peft=full: a separate decoder; None: a copy of the policy's
    adapter: dict[str, Tensor] | None = None  # weights of the reward model's adapter on the policy's stack
    peft: LoraConfig | None = None  # settings of that adapter


@dataclass(frozen=True)
class Roles:
    """Policy, reference and value model if there is one, and their trained parameters."""

    in_training: ModelInTraining
    policy: Role
    reference: Role
    value: Role | None
    parameters: dict[str, dict[str, Parameter]]  # "policy", then "value" -> trained parameters by name

    def logprobs(self, role: Role, batch: Batch, temperature: float, *, with_entropy: bool = False) -> TokenLogprobs:
        """Return log-probabilities, [answer tokens], of the policy or the reference."""
        statistic = entropy if with_entropy else None
        return token_logprobs(role.states(batch), batch.tokens, role.head, temperature, statistic=statistic)

    def learn_logprobs(self, batch: Batch, temperature: float, loss: Callable[[Tensor, slice], Tensor]) -> None:
        """Add the policy's gradients of a loss that is a sum over the answers' tokens; see `backward_in_chunks`."""
        states = self.policy.states(batch)
        backward_in_chunks(states, batch.tokens, self.policy.head, temperature, loss)

    def values(self, batch: Batch) -> Tensor:
        """Return the value estimates from the state before each token, [answer tokens] float32."""
        assert self.value is not None
        states = self.value.states(batch)
        with torch.autocast(states.device.type, enabled=False):
            return self.value.head(states.float())[:, 0]  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def recomputing(self, wanted: bool) -> Iterator[None]:
        """Recompute activations in the backward pass inside this context, if `wanted`; dropout stays off."""
        models = [role.decoder for role in (self.policy, self.value) if role]
        layers = [m for model in models for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        for layer in layers if wanted else ():
            layer.training = True  # the layer alone: the modules inside it stay in evaluation mode
        try:
            yield
        finally:
            for layer in layers if wanted else ():
                layer.training = False

    def trained_weights(self) -> dict[str, Tensor]:
        """Return all trained parameters by role and name, for a checkpoint."""
        return {
            f"{role}.{name}": parameter.detach().contiguous()
            for role, parameters in self.parameters.items()
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def restore(self, weights: dict[str, Tensor]) -> None:
        """Restore the parameters from what `trained_weights` returned."""
        for role, parameters in self.parameters.items():
            for name, parameter in parameters.items():
                parameter.copy_(weights[f"{role}.{name}"])

    def save_value(self, folder: Path) -> None:
        """Save the value model's trained weights, so that another run can use them with `ppo.inputs.value`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({n: p.detach().contiguous() for n, p in self.parameters["value"].items()}, folder / VALUE_FILE)

    @torch.no_grad()
    def load_value(self, artifact: Artifact) -> None:
        """Load the value model of an earlier run. Raises `RequestError` if it has another shape."""
        found = load_file(artifact.file(f"{VALUE}/{VALUE_FILE}"))
        own = self.parameters["value"]
        if {n: p.shape for n, p in own.items()} != {n: t.shape for n, t in found.items()}:
            raise RequestError(
                f"{artifact.reference}: its value model has another shape than this run's; use the same peft."
            )
        for name, parameter in own.items():
            parameter.copy_(found[name])


def build_roles(
    in_training: ModelInTraining, start: ValueStart | None, peft: PeftConfig, seed: int, *, recompute: bool
) -> Roles:
    """Build policy, reference and value model from a policy that is prepared for training.

    Without a `start` there is no value model.
    """
    model = in_training.model.eval()
    decoder = transformer_of(model)
    if isinstance(model, PeftModel):
        below, head = adapters_below(model), LanguageHead(unwrapped_model(model))
        policy = Role(decoder, head, AdapterSwitch(model, [*below, TRAINED]))
        reference = Role(decoder, head, AdapterSwitch(model, below))
    else:
        policy = Role(decoder, LanguageHead(model))
        frozen = copy.deepcopy(model).requires_grad_(False)
        reference = Role(transformer_of(frozen), LanguageHead(frozen))
    value = _value_model(in_training, start, peft, seed) if start else None
    policy.switch()
    if recompute:
        for causal in {id(role.decoder): role.decoder for role in (policy, value) if role}.values():
            causal.activation_checkpointing_enable()
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad and not _belongs_to(name, VALUE)}
    valued = {"value": _value_parameters(model, value)} if value else {}
    return Roles(in_training, policy, reference, value, {"policy": learned, **valued})


def _value_model(in_training: ModelInTraining, start: ValueStart, peft: PeftConfig, seed: int) -> Role:
    """Return the value model: with adapters one more on the policy's base model, else a transformer of its own."""
    model = in_training.model
    head = torch.nn.Linear(model.get_input_embeddings().embedding_dim, 1, device=in_training.device)
    with torch.no_grad():
        torch.nn.init.zeros_(head.weight) if start.weight is None else head.weight.copy_(start.weight)
        head.bias.fill_(start.bias)
    decoder = transformer_of(model)
    if isinstance(model, PeftModel):
        below = adapters_below(model)
        torch.manual_seed(seed)
        add_adapter(model, VALUE, start.peft or peft, start.adapter)
        return Role(decoder, head, AdapterSwitch(model, [*below, VALUE]))
    backbone = copy.deepcopy(decoder) if start.backbone is None else start.backbone
    return Role(backbone.requires_grad_(True).eval(), head)


def _value_parameters(model: Any, value: Role) -> dict[str, Parameter]:
    """Return the value model's trained parameters by name: of its adapter or its own transformer, and of its head."""
    own = value.decoder if value.decoder is not transformer_of(model) else None
    adapter = {name: p for name, p in model.named_parameters() if _belongs_to(name, VALUE)}
    learned = adapter if own is None else dict(own.named_parameters())
    return {**learned, **{f"head.{name}": p for name, p in value.head.named_parameters()}}


class AdapterSwitch:
    """Activates some of a model's adapters; those of policy and value model stay trainable."""

    def __init__(self, model: PeftModel, names: list[str]) -> None:
        self.model, self.names = model, names

    def __call__(self) -> None:
        for layer in self.layers:
            if layer.active_adapters != self.names:
                layer.set_adapter(self.names, inference_mode=True)
        for parameter in self.trainable:  # peft freezes inactive adapters
            parameter.requires_grad_(True)

    @cached_property
    def layers(self) -> list[BaseTunerLayer]:
        """The layers with adapters; computed at first use, after every role has added its adapter."""
        return [layer for layer in self.model.modules() if isinstance(layer, BaseTunerLayer)]

    @cached_property
    def trainable(self) -> list[Parameter]:
        named = self.model.named_parameters()
        return [p for name, p in named if _belongs_to(name, TRAINED) or _belongs_to(name, VALUE)]


def adapters_below(model: PeftModel) -> list[str]:
    """Return the names of the frozen adapters below the policy's new one."""
    return [name for name in model.base_model.active_adapters if name != TRAINED]


def add_adapter(
    model: PeftModel, name: str, peft: PeftConfig | LoraConfig, weights: dict[str, Tensor] | None = None
) -> None:
    """Add an adapter to a model: a new one, or one with weights and settings that peft saved.

    Raises `RequestError` unless `weights` match the adapter's parameters exactly.
    """
    with_adapter(model, lora_config(peft, model) if isinstance(peft, PeftConfig) else copy.deepcopy(peft), name)
    if weights is None:
        return
    own = {n.replace(f".{name}.", "."): p for n, p in model.named_parameters() if _belongs_to(n, name)}
    if {n: p.shape for n, p in own.items()} != {n: t.shape for n, t in weights.items()}:
        raise RequestError("The reward model's adapter does not fit this policy: train the reward model again.")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(weights[key])


def _belongs_to(name: str, adapter: str) -> bool:
    """Return whether a parameter belongs to an adapter."""
    return re.search(rf"\.lora_\w+\.{adapter}(\.|$)", name) is not None
