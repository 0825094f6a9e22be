"""What differs from architecture to architecture, asked of the configuration or of the model and never of its name.

Dropout and router noise are off from the start, in all stages: training compares a policy with itself, and a pass that
differs from the one before it would be taken for learning (arXiv 2009.01325 has it so for PPO, TRL for DPO).
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.pytorch_utils import Conv1D

from pipeline.errors import RequestError

CHANCE = re.compile(r"drop|jitter")  # fields of a configuration that make one pass differ from the next
LENGTHS = (  # what the longest sequence is called, the most usual name first
    *("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx"),
    "context_length",
)
UNLIMITED = 10**9
LINEAR = (torch.nn.Linear, Conv1D)
CLASSIFIER = "ForSequenceClassification"  # how transformers calls models with a head that scores
# what files may hold beyond the model: masks and positions that older versions saved, and parts that text passes by
LEFT_OVER = re.compile(
    r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$|vision|visual|audio|multi_modal|^mtp\."
)
SHOWN = 3  # names of weights in a message


def switch_off_chance(config: PreTrainedConfig) -> None:
    """Set every dropout and jitter field to 0, those of nested configurations too.

    Modules and functions alike read them there; switching off modules alone leaves the functions that OPT calls.
    What is saved later says 0 as well: that is how it was trained.
    """
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            switch_off_chance(value)
        elif isinstance(value, float) and CHANCE.search(name):
            setattr(config, name, 0.0)


def switch_off_router_logits(config: PreTrainedConfig) -> None:
    """Let a mixture of experts return words alone: with router logits, `generate` fails on padded prompts.

    TRL asks for them by argument where a loss balances the experts, and leaves the flag set in what it trained.
    """
    text = config.get_text_config()
    if getattr(text, "output_router_logits", False):
        text.output_router_logits = False


def context_length(config: PreTrainedConfig) -> int:
    """The most tokens of one sequence; `UNLIMITED` where the configuration names no limit (ALiBi, recurrent models)."""
    text = config.get_text_config(decoder=True)
    found = (getattr(text, name, None) for name in LENGTHS)
    return next((int(value) for value in found if isinstance(value, int) and value > 0), UNLIMITED)


def classifier_of(config: PreTrainedConfig) -> Any:
    """What loads a model of this configuration with a linear head: transformers' class, or one made in the same way.

    transformers has none for Granite, Cohere, OLMoE, Mamba and others. Raises `RequestError` where there is no such
    architecture.
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
    own["__module__"] = body.__module__  # what is not transformers' own is initialized in another way: only in part
    return type(name, (GenericForSequenceClassification, parent), own)


def check_complete(
    info: Mapping[str, Set[Any]], name: str, *, new_head: str = "", prefix: str = "", old_head: str = ""
) -> None:
    """Raise `RequestError` unless every weight of a model came from its files, and every weight of the files is in it.

    `info` is what `from_pretrained` says with `output_loading_info`; tied weights are not in it. With a `new_head`, its
    own weights may be missing, and those of the head it replaces, which are not below `prefix`, may be left over. Those
    of an `old_head` may be left over, too.
    """
    missing = [key for key in info["missing_keys"] if not (new_head and key.startswith(f"{new_head}."))]
    extra = [key for key in info["unexpected_keys"] if not LEFT_OVER.search(key)]
    extra = [key for key in extra if not new_head or key.startswith(f"{prefix}.")]
    extra = [key for key in extra if not old_head or not key.startswith(f"{old_head}.")]
    other = [str(one[0]) for one in info["mismatched_keys"]]
    told = {"are missing": missing, "are of another shape": other, "are unknown to this architecture": extra}
    faults = [f"{len(keys)} weights {what} ({_first(keys)})" for what, keys in told.items() if keys]
    if faults:
        raise RequestError(
            f"{name}: its weights are not those that its config.json describes: {'; '.join(faults)}. What is missing "
            "would be random. Save or download the model again, whole."
        )


def _first(names: list[str]) -> str:
    return ", ".join(sorted(names)[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def language_model(model: Any) -> str:
    """The path of the language model inside a model: `model`, or `model.language_model` beside a vision tower."""
    decoder = model.get_decoder()
    return str(next(name for name, module in model.named_modules() if module is decoder))


def unadapted(model: Any) -> str | None:
    """A pattern of the linear layers that `all-linear` leaves alone, None where there are none.

    They are those that no text goes through (vision and audio towers and their projectors), and those of state-space
    mixers (which have `A_log` and `D`) whose weights are read directly, so that an adapter on them would do nothing.
    """
    inside, heads = language_model(model), (model.get_output_embeddings(), getattr(model, "score", None))
    linear = [name for name, one in model.named_modules() if isinstance(one, LINEAR) and one not in heads]
    towers = (
        [rf"(?!{re.escape(inside)}\.).*"] if any(not f"{name}.".startswith(f"{inside}.") for name in linear) else []
    )
    mixers = {
        name.rpartition(".")[2] for name, one in model.named_modules() if hasattr(one, "A_log") and hasattr(one, "D")
    }
    patterns = [*towers, *(rf".*\.{re.escape(mixer)}\.(x|dt|out)_proj" for mixer in sorted(mixers))]
    return "|".join(patterns) or None


class Footprint(NamedTuple):
    """What the weights of the transformer take, embeddings, head and adapters aside."""

    bits: float  # measured, per weight, quantization states included
    in_4_bits: float  # share of the weights


def footprint(model: Any) -> Footprint:
    """Bits per weight over all matrices of the base, and the share of them that is in 4 bits.

    Experts of a mixture are one parameter of three dimensions and count like any other matrix.
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
    """What NF4 keeps beside the codes: block maxima, themselves in 8 bits with maxima of their own."""
    yield state.absmax
    nested = getattr(state, "state2", None)
    if nested is not None:
        yield nested.absmax
