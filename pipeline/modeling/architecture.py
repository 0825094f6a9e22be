"""Differences between architectures, read from the configuration or the model, never from the model's name.

Dropout and router noise are off in all stages: training compares a policy with itself, and a random difference between
two passes would look like learning (arXiv 2009.01325 turns dropout off for PPO, TRL for DPO).
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.pytorch_utils import Conv1D

from pipeline.errors import RequestError

RANDOM_FIELDS = re.compile(r"drop|jitter")  # configuration fields that make a forward pass random
CONTEXT_LENGTH_FIELDS = (  # configuration fields for the context length, the most usual name first
    *("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx"),
    "context_length",
)
UNLIMITED = 10**9
LINEAR_LAYERS = (torch.nn.Linear, Conv1D)
CLASSIFIER = "ForSequenceClassification"  # suffix of transformers' models with a head for scores
# weights that files may hold beyond the model: masks and positions from older versions, and parts that text skips
UNUSED_WEIGHTS = re.compile(
    r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$|vision|visual|audio|multi_modal|^mtp\."
)
MAX_NAMES_SHOWN = 3  # names of weights listed in a message


def switch_off_dropout(config: PreTrainedConfig) -> None:
    """Set every dropout and jitter field of a configuration to 0, nested configurations included.

    Modules and functions both read these fields; turning off modules alone misses the functions that OPT calls.
    Models saved later keep the 0, since they were trained with it.
    """
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            switch_off_dropout(value)
        elif isinstance(value, float) and RANDOM_FIELDS.search(name):
            setattr(config, name, 0.0)


def has_experts(config: PreTrainedConfig) -> bool:
    """Whether the model is a mixture of experts, in which a batch may use only some of the parameters."""
    text = config.get_text_config()
    return any(getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))


def switch_off_router_logits(config: PreTrainedConfig) -> None:
    """Turn off the router logits of a mixture of experts: with them, `generate` fails on padded prompts.

    TRL requests them by argument for a loss that balances the experts, and leaves the flag set in the trained model.
    """
    text = config.get_text_config()
    if getattr(text, "output_router_logits", False):
        text.output_router_logits = False


def context_length(config: PreTrainedConfig) -> int:
    """Return the context length in tokens; `UNLIMITED` if the configuration has none (ALiBi, recurrent models)."""
    text = config.get_text_config(decoder=True)
    found = (getattr(text, name, None) for name in CONTEXT_LENGTH_FIELDS)
    return next((int(value) for value in found if isinstance(value, int) and value > 0), UNLIMITED)


def classifier_of(config: PreTrainedConfig) -> Any:
    """Return the class that loads a model of this configuration with a linear head.

    It is transformers' class if there is one, else a class made in the same way (for Granite, Cohere, OLMoE, Mamba and
    others). Raises `RequestError` for an architecture that transformers does not have.
    """
    kind = type(config)
    if kind in AutoModelForSequenceClassification._model_mapping:
        return AutoModelForSequenceClassification
    if kind not in AutoModel._model_mapping:
        raise RequestError(f"{config.model_type}: transformers has no architecture of this kind to put a head on.")
    body = AutoModel._model_mapping[kind]
    parent = next(base for base in body.__mro__ if base.__name__.endswith("PreTrainedModel"))
    name = body.__name__.removesuffix("Model") + CLASSIFIER
    own = {"base_model_prefix": parent.base_model_prefix or "model", "config_class": kind}
    own["__module__"] = body.__module__  # transformers initializes classes of other modules only in part
    return type(name, (GenericForSequenceClassification, parent), own)


def check_weights(
    info: Mapping[str, Set[Any]], name: str, *, new_head: str = "", prefix: str = "", old_head: str = ""
) -> None:
    """Raise `RequestError` unless the weights of the files are exactly those of the model.

    `info` is the result of `from_pretrained` with `output_loading_info`; it leaves out tied weights. With a `new_head`,
    the weights of that head may be missing from the files, and weights outside `prefix` (the replaced head) may be left
    over. Weights of an `old_head` may also be left over.
    """
    missing = [key for key in info["missing_keys"] if not (new_head and key.startswith(f"{new_head}."))]
    extra = [key for key in info["unexpected_keys"] if not UNUSED_WEIGHTS.search(key)]
    extra = [key for key in extra if not new_head or key.startswith(f"{prefix}.")]
    extra = [key for key in extra if not old_head or not key.startswith(f"{old_head}.")]
    other = [str(one[0]) for one in info["mismatched_keys"]]
    faulty = {"are missing": missing, "are of another shape": other, "are unknown to this architecture": extra}
    faults = [f"{len(keys)} weights {what} ({_first_names(keys)})" for what, keys in faulty.items() if keys]
    if faults:
        raise RequestError(
            f"{name}: its weights are not those that its config.json describes: {'; '.join(faults)}. Missing weights "
            "would be random. Save or download the model again, whole."
        )


def _first_names(names: list[str]) -> str:
    return ", ".join(sorted(names)[:MAX_NAMES_SHOWN]) + (", …" if len(names) > MAX_NAMES_SHOWN else "")


def language_model_path(model: Any) -> str:
    """Return the path of the language model in a model: `model`, or `model.language_model` with a vision tower."""
    decoder = model.get_decoder()
    return str(next(name for name, module in model.named_modules() if module is decoder))


def layers_without_adapters(model: Any) -> str | None:
    """Return a pattern for the linear layers that `all-linear` must leave out; None if there are none.

    These are layers that text does not pass through (vision and audio towers and their projectors), and layers of
    state-space mixers (modules with `A_log` and `D`): the mixer reads their weights directly, so an adapter has no
    effect on them.
    """
    inside, heads = language_model_path(model), (model.get_output_embeddings(), getattr(model, "score", None))
    linear = [name for name, one in model.named_modules() if isinstance(one, LINEAR_LAYERS) and one not in heads]
    towers = (
        [rf"(?!{re.escape(inside)}\.).*"] if any(not f"{name}.".startswith(f"{inside}.") for name in linear) else []
    )
    mixers = {
        name.rpartition(".")[2] for name, one in model.named_modules() if hasattr(one, "A_log") and hasattr(one, "D")
    }
    patterns = [*towers, *(rf".*\.{re.escape(mixer)}\.(x|dt|out)_proj" for mixer in sorted(mixers))]
    return "|".join(patterns) or None


class Footprint(NamedTuple):
    """The size of the transformer's weights, without embeddings, head and adapters."""

    bits: float  # measured bits per weight, quantization states included
    in_4_bits: float  # share of the weights that is in 4 bits


def measure_footprint(model: Any) -> Footprint:
    """Measure bits per weight over all matrices of the base model, and the share of its weights in 4 bits.

    The experts of a mixture are one parameter with three dimensions and count like any matrix.
    """
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    aside = {id(module.weight) for module in (*tables, model.get_output_embeddings()) if module is not None}
    bits = weights = quantized = 0
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)
        if id(parameter) in aside or "lora_" in name or parameter.ndim < 2:
            continue
        count = state.shape.numel() if state is not None else parameter.numel()
        weights += count
        bits += 8 * parameter.numel() * parameter.element_size()
        if state is not None:
            quantized += count
            bits += 8 * sum(t.numel() * t.element_size() for t in _state_tensors(state))
    return Footprint(bits / max(weights, 1), quantized / max(weights, 1))


def _state_tensors(state: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of NF4 besides the codes: block maxima, quantized to 8 bits, and the maxima of these."""
    yield state.absmax
    nested = getattr(state, "state2", None)
    if nested is not None:
        yield nested.absmax
