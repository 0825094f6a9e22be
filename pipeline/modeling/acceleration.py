"""What makes passes faster and changes no result but rounding: kinds of attention, compiled layers, activations."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline.config.nodes.machine import ATTENTION_ON_GPU
from pipeline.errors import RequestError
from pipeline.modeling.heads import transformer_of, unwrapped_model

PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
IN_HALF_PRECISION = tuple(PACKAGES)
TOLERANCE = {torch.float32: 1e-3}  # relative to the size of the states
HALF_TOLERANCE = 0.1


def check_attention(attention: str | None, device: torch.device) -> None:
    """Raise `RequestError` if an attention (None: transformers' own choice) does not run on this machine.

    transformers would fetch kernels from a hub instead, or fail at the first pass.
    """
    key = f"launch.attn_implementation={attention}"
    if attention in ATTENTION_ON_GPU and device.type != "cuda":
        raise RequestError(f"{key}: it needs a GPU, and this runs on {device.type}. Use sdpa or eager.")
    package = PACKAGES.get(attention or "")
    if package and find_spec(package) is None:
        raise RequestError(f"{key}: its package {package} is not installed. Use sdpa.")


def check_precision(model: Any, attention: str | None, name: str) -> None:
    """Raise `RequestError` if an attention in half precision is to compute with weights in float32."""
    if attention in IN_HALF_PRECISION and model.dtype == torch.float32:
        raise RequestError(
            f"launch.attn_implementation={attention}: it computes in half precision only, and {name} is in float32. "
            "Use sdpa, or adapters (peft=lora) on a model with model.dtype=bfloat16."
        )


def use_fused_activations(model: torch.nn.Module) -> None:
    """Replace activations that transformers computes in eight steps with torch's one of the same formula, in place.

    The steps cost a fifth of a small model's pass on a CPU, and each keeps a tensor for the backward pass.
    """
    for module in list(model.modules()):
        for name, part in module.named_children():
            if type(part) in (NewGELUActivation, FastGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


@torch.no_grad()
def compile_layers(model: Any, name: str) -> None:
    """Compile a model's layers in place; each at its first pass, which takes minutes.

    Raises `RequestError` if torch cannot compile them, or if compiled layers compute other states.
    """
    transformer = transformer_of(model)
    layers = [layer for layer in transformer.modules() if isinstance(layer, GradientCheckpointingLayer)]
    refusal = f"launch.compile=true does not work with {type(unwrapped_model(model)).__name__} ({name})"
    if not layers:
        raise RequestError(f"{refusal}: it has no layers that transformers marks as such. Use launch.compile=false.")
    before = _probe(transformer)
    for layer in layers:
        layer.compile()
    try:
        after = _probe(transformer)
    except Exception as error:  # the compiler's own faults have many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RequestError(f"{refusal}: torch cannot compile it ({reason}). Use launch.compile=false.") from error
    off = float((after - before).float().norm() / before.float().norm())
    if not off <= TOLERANCE.get(before.dtype, HALF_TOLERANCE):
        raise RequestError(
            f"{refusal}: compiled, its states differ by {off:.2g} of their size. Use launch.compile=false."
        )


def _probe(transformer: Any) -> Tensor:
    """Return the last hidden states for a few arbitrary tokens, [1, tokens, hidden]."""
    ids = torch.arange(5, 21, device=next(transformer.parameters()).device)[None]
    states: Tensor = transformer(input_ids=ids, use_cache=False).last_hidden_state
    return states
