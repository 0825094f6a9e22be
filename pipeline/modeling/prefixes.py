"""Prefix tuning (arXiv 2101.00190): trained keys and values before the first token, in every layer of a frozen model.

peft adds them in the forward pass of the whole model. All stages here use the transformer and its head one after the
other, so a hook adds them to the transformer, however it is called. `check_head` compares the two ways.
"""

from functools import partial
from typing import Any

import torch
from peft import PeftModel, PeftType, PrefixTuningConfig
from transformers import DynamicCache, PreTrainedModel

from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.architectures import PREFIX_IN_WINDOW
from pipeline.modeling.adapters import TRAINED, Model, with_adapter
from pipeline.modeling.heads import check_head, transformer_of, unwrapped_model
from pipeline.modeling.padding import keeps_states
from pipeline.modeling.passes import cache_argument

PROBE = [[5, 6, 7, 8], [9, 10, 11, 12]]  # arbitrary token ids
NO_KEYS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def has_prefix(model: Any) -> bool:
    """Return whether a prefix is active on a model."""
    return isinstance(model, PeftModel) and model.active_peft_config.peft_type == PeftType.PREFIX_TUNING


def prefix_length(model: Any) -> int:
    """Return the number of virtual tokens before the first one; 0 without a prefix."""
    return int(model.active_peft_config.num_virtual_tokens) if has_prefix(model) else 0


def with_new_prefix(model: Model, peft: PeftConfig, pad_id: int, name: str) -> PeftModel:
    """Add an untrained prefix to the frozen model and return it.

    Raises `RequestError` for a model with adapters, and for an architecture in which a prefix does not reach every
    layer.
    """
    if isinstance(model, PeftModel):
        raise RequestError(f"{name}: a prefix goes before a whole model, not one with adapters. Use peft=lora.")
    if any(getattr(layer, "is_sliding", False) for layer in DynamicCache(config=transformer_of(model).config).layers):
        raise RequestError(f"{name}: {PREFIX_IN_WINDOW}")
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=peft.virtual_tokens)
    refusal = f"{name}: peft cannot put a prefix before every layer of {type(model).__name__}"
    try:
        found = with_adapter(model, config, TRAINED).eval()
        add_to_transformer(found)
        reached = _reaches_all_layers(found, model) and keeps_states(transformer_of(found), pad_id, cached=True)
    except torch.OutOfMemoryError:
        raise
    except NO_KEYS as error:
        raise RequestError(f"{refusal} ({error}). Use peft=lora.") from error
    if not reached:
        raise RequestError(f"{refusal}. Use peft=lora.")
    check_head(found, PROBE[0], name)
    return found


def add_to_transformer(model: PeftModel) -> None:
    """Make the transformer below the head add the prefix itself, where it is called without the whole model."""
    transformer_of(model).register_forward_pre_hook(partial(_with_prefix, model), with_kwargs=True)


def _with_prefix(
    model: PeftModel, transformer: Any, args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a pass with the prefix: in the cache, in the mask of attention, and in the positions.

    They are returned unchanged if peft has added it.
    """
    given = dict(zip(("input_ids",), args, strict=False)) | given
    seen = given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"]
    name, length, mask = cache_argument(transformer), prefix_length(model), given.get("attention_mask")
    cache = given.get(name)
    is_first = cache is None or not cache.get_seq_length()
    if is_first:
        prefix = model.get_prompt(len(seen))
        if cache is not None:
            for place, layer in enumerate(prefix.layers):
                cache.update(layer.keys, layer.values, place)
        given[name] = cache if cache is not None else prefix
    whole = given[name].get_seq_length() + seen.shape[1]
    lacks_prefix = mask.shape[1] == whole - length if mask is not None and mask.dim() == 2 else is_first
    if lacks_prefix:
        if mask is not None:
            given["attention_mask"] = torch.cat([mask.new_ones(len(mask), length), mask], 1)
        if given.get("position_ids") is not None:
            given["position_ids"] = given["position_ids"] + length
    return (), given


def _reaches_all_layers(found: PeftModel, model: PreTrainedModel) -> bool:
    """Return whether the last states depend on the prefix's keys and values in every layer, by their gradients."""
    encoder = found.prompt_encoder[TRAINED]
    with torch.enable_grad():
        ids = torch.tensor(PROBE, device=encoder.embedding.weight.device)
        states = transformer_of(found)(input_ids=ids, use_cache=False).last_hidden_state
        weights = torch.linspace(-1, 1, states.numel(), device=states.device).reshape(states.shape)
        (gradient,) = torch.autograd.grad((states.float() * weights).sum(), encoder.embedding.weight)
    layers = unwrapped_model(model).config.get_text_config().num_hidden_layers
    parts = gradient.reshape(len(gradient), 2 * layers, -1)
    return bool((parts.abs().amax((0, 2)) > 0).all())
