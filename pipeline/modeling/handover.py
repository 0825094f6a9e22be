"""Writes the policy in training as one adapter on its base model, for a server that draws its answers.

PPO trains a new adapter on top of those that the SFT policy has. Their low-rank factors side by side are their sum.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import RequestError
from pipeline.files import open_to_others
from pipeline.modeling.adapters import TRAINED
from pipeline.modeling.roles import AdapterSwitch, Role, Roles, adapters_below

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of peft's names for the layers of a model


class JoinedAdapter(NamedTuple):
    """All adapters of a policy as one, with a scaling of 1."""

    weights: dict[str, Tensor]  # by peft's names, on the CPU
    rank: int
    base: str  # the base model: a folder or a hub id

    @property
    def digest(self) -> str:
        """Return digits that other weights do not have."""
        found = hashlib.sha256()
        for name, values in self.weights.items():
            found.update(name.encode())
            found.update(values.contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Write the adapter as peft saves one; other users may read it."""
        folder.mkdir(parents=True, exist_ok=True)
        layers = [name.removesuffix(".lora_A.weight") for name in self.weights if name.endswith(".lora_A.weight")]
        LoraConfig(
            r=self.rank,
            lora_alpha=self.rank,
            target_modules=[layer.removeprefix(PREFIX) for layer in layers],
            base_model_name_or_path=self.base,
            task_type="CAUSAL_LM",
            inference_mode=True,
        ).save_pretrained(folder)
        save_file(self.weights, folder / WEIGHTS)
        open_to_others(folder)


def check_handover(roles: Roles) -> None:
    """Raise `RequestError` if a policy's adapters have parts that a joined adapter does not have."""
    model = roles.in_training.model
    assert isinstance(model, PeftModel)  # peft=full is refused by the configuration
    for name in adapters_below(model):
        config: Any = model.peft_config[name]
        parts = ("use_dora", "lora_bias", "modules_to_save", "target_parameters", "trainable_token_indices")
        found = [part for part in parts if getattr(config, part, None)]
        if found or config.bias != "none" or any(one.lora_embedding_A for one in _layers(model).values()):
            raise RequestError(
                f"An adapter below the policy has {', '.join(found) or 'biases or embeddings'}, which a server does "
                "not take: merge it first (stage=export), or draw here: ppo.drawn_by=hf."
            )


@torch.no_grad()
def joined_adapter(roles: Roles) -> JoinedAdapter:
    """Return the policy as one adapter on its base model. Layers of a lower rank are filled up with zeros."""
    model = roles.in_training.model
    assert isinstance(model, PeftModel)
    names = [*adapters_below(model), TRAINED]
    adapted = {path: layer for path, layer in _layers(model).items() if not layer.lora_A.keys().isdisjoint(names)}
    factors = {path: _factors(layer, names) for path, layer in adapted.items()}
    rank = max(len(first) for first, _ in factors.values())
    weights = {}
    for path, (first, second) in factors.items():
        missing = rank - len(first)
        weights[f"{path}.lora_A.weight"] = torch.nn.functional.pad(first, (0, 0, 0, missing)).cpu().contiguous()
        weights[f"{path}.lora_B.weight"] = torch.nn.functional.pad(second, (0, missing)).cpu().contiguous()
    return JoinedAdapter(weights, rank, roles.in_training.source.weights)


def _layers(model: PeftModel) -> dict[str, LoraLayer]:
    return {path: layer for path, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def _factors(layer: LoraLayer, names: list[str]) -> tuple[Tensor, Tensor]:
    """Return both factors of a layer's adapters side by side, [rank, in] and [out, rank], scaled."""
    own = [name for name in names if name in layer.lora_A]
    first = torch.cat([layer.lora_A[name].weight for name in own])
    second = torch.cat([layer.lora_B[name].weight * layer.scaling[name] for name in own], 1)
    return first, second


def trained_weights(roles: Roles) -> dict[str, Tensor]:
    """Return a copy of the weights that the policy has learned so far."""
    return {name: parameter.detach().clone() for name, parameter in roles.parameters["policy"].items()}


@contextlib.contextmanager
def policy_before(roles: Roles, weights: dict[str, Tensor] | None) -> Iterator[Role]:
    """Yield the policy as it was with these trained weights; None: its base model without adapters.

    Inside the context the policy itself has these weights, too.
    """
    if weights is None:
        yield Role(roles.policy.decoder, roles.policy.head, AdapterSwitch(roles.in_training.model, []))
        return
    now = trained_weights(roles)
    try:
        _copy(weights, roles)
        yield roles.policy
    finally:
        _copy(now, roles)


@torch.no_grad()
def _copy(weights: dict[str, Tensor], roles: Roles) -> None:
    for name, parameter in roles.parameters["policy"].items():
        parameter.copy_(weights[name])
