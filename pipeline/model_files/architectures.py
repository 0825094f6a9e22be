"""Determines from a configuration, without torch, how transformers and this pipeline can use an architecture.

transformers' tables of architectures are read from its source, because importing them takes seconds.
"""

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

CONFIGS = ("auto_mappings.py", "CONFIG_MAPPING_NAMES")
BODIES = ("modeling_auto.py", "MODEL_MAPPING_NAMES")
CAUSAL = ("modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
MASKED = ("modeling_auto.py", "MODEL_FOR_MASKED_LM_MAPPING_NAMES")
CLASSIFIERS = ("modeling_auto.py", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES")

# linear layers of a special class, which bitsandbytes does not replace, or with weights that are read directly
OWN_LINEAR = {"falcon", "mamba", "mamba2", "falcon_mamba"}
# their state is not in transformers' cache, from which PPO's sampler removes finished rows
OWN_CACHE = {"mamba", "mamba2", "falcon_mamba"}
NO_PADDING = {"rwkv", "xlstm", "recurrent_gemma"}  # they read padding like text
# their output has no cache, which transformers' classification head expects
NO_HEAD = {"mamba", "mamba2", "falcon_mamba"}
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
EMBEDDINGS_AND_HEAD = (
    "embed_tokens",
    "wte",
    "word_embeddings",
    "embed_in",
    "embeddings",
    "lm_head",
    "embed_out",
    "score",
)

PREFIX = "prefix"  # the value of peft.method
ON_PREFIX = (
    "a model that was trained with peft.method=prefix cannot be trained further: no stage trains behind a prefix. "
    "Train SFT with peft@sft.peft=lora or full."
)
PREFIX_IN_WINDOW = (
    "some of its layers see a window of tokens, in which padding would take the place of a prefix. Use peft=lora."
)
MERGED_PREFIX = "a prefix cannot be merged into weights. Use export.merge=false, which writes it as peft's adapter."


@cache
def table(file: str, name: str) -> Mapping[str, Any]:
    """Read one of transformers' tables: model type -> class name or names. A test compares it with the imported one."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ImportError("transformers is not installed")
    tree = ast.parse((Path(spec.origin).parent / "models" / "auto" / file).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Call):
            return dict(ast.literal_eval(node.value.args[0]))
    raise ImportError(f"transformers has no table {name} in {file}")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the language model inside a multimodal model, else the whole configuration."""
    part = config.get("text_config")
    return {**config, **part} if isinstance(part, Mapping) else config


def number_of_layers(config: Mapping[str, Any]) -> int | None:
    """Return the number of layers of the language model; None if the configuration does not state it."""
    text = text_part(config)
    return next((int(text[name]) for name in LAYERS if isinstance(text.get(name), int)), None)


def is_mixture(config: Mapping[str, Any]) -> bool:
    """Whether the model is a mixture of experts."""
    return any("expert" in name and isinstance(value, int) and value > 1 for name, value in text_part(config).items())


def has_window(config: Mapping[str, Any]) -> bool:
    """Whether some layers see a sliding window of tokens only."""
    text = text_part(config)
    kinds = text.get("layer_types")
    if kinds is not None:
        return "sliding_attention" in kinds
    return bool(text.get("sliding_window")) and bool(text.get("use_sliding_window", True))


def policy_fault(config: Mapping[str, Any]) -> str | None:
    """Return why a model with this configuration cannot be a policy; None if it can."""
    kind = config.get("model_type")
    if not kind:
        return "its config.json has no model_type, so the architecture is unknown. Bring the model as it was saved."
    if kind not in table(*CONFIGS):
        if config.get("auto_map"):
            return (
                f"model_type={kind} comes with code of its own (trust_remote_code), which is never run here. Use a "
                "version of the model that transformers knows by itself."
            )
        return (
            f"transformers {_transformers()} does not support model_type={kind}. Check its config.json, or use a "
            "model of a "
            "known architecture."
        )
    if config.get("is_encoder_decoder") or kind not in table(*CAUSAL) or kind in table(*MASKED):
        return (
            f"model_type={kind} is not a causal language model (an encoder, an encoder-decoder or a model for other "
            "input). Answers are written by causal ones, such as Llama, Qwen or Gemma."
        )
    if kind in NO_PADDING:
        return (
            f"{kind} reads padding like text, so neither answers nor scores come in batches. Use another architecture, "
            "such as Llama, Qwen or Gemma."
        )
    return quantization_fault(config)


def reward_fault(config: Mapping[str, Any]) -> str | None:
    """Return why a model with this configuration cannot score answers; None if it can."""
    names = config.get("architectures") or []
    if not any("ForSequenceClassification" in name for name in names):
        return (
            "a language model, not a reward model: it has no head that scores. Train one from it with "
            "`python -m pipeline stage=reward`, or name a sequence-classification model."
        )
    kind = config.get("model_type")
    if kind not in table(*CLASSIFIERS) and kind not in table(*CAUSAL):
        return f"transformers {_transformers()} has no sequence classification for model_type={kind}."
    labels = len(config.get("id2label") or {}) or config.get("num_labels", 2)
    if labels != 1:
        return f"it has {labels} labels, and a reward model gives one number (num_labels=1)."
    return quantization_fault(config)


def quantization_fault(config: Mapping[str, Any]) -> str | None:
    """Return why an already quantized checkpoint cannot be used; None if it is not quantized."""
    quantization = config.get("quantization_config") or text_part(config).get("quantization_config")
    if not quantization:
        return None
    method = quantization.get("quant_method", "unknown method")
    bits = " in 4 bits" if quantization.get("load_in_4bit") or quantization.get("bits") == 4 else ""
    return (
        f"its weights are quantized already ({method}{bits}), and can be neither trained nor merged with adapters. "
        "Bring the model that it was made from, in 16 or 32 bits: peft=qlora quantizes it to 4 bits itself."
    )


class Training(NamedTuple):
    """How a stage uses the model that it trains."""

    as_reward: bool = False  # trains a head that outputs one number
    generates: bool = False  # samples answers from the model
    prefixes: bool = False  # can train a prefix


def training_fault(config: Mapping[str, Any], trains: Training, method: str, dropout: float) -> str | None:
    """Return why a stage cannot train this architecture with this PEFT method; None if it can."""
    kind = str(config.get("model_type"))
    if method == PREFIX and kind in OWN_CACHE:
        return f"{kind} has no keys and values that a prefix could be put before. Use peft=lora."
    if method == PREFIX and has_window(config):
        return PREFIX_IN_WINDOW
    if method == "qlora" and kind in OWN_LINEAR:
        return f"the linear layers of {kind} cannot be quantized by bitsandbytes. Use peft=lora or peft=full."
    if method != "full" and dropout and is_mixture(config):
        return "adapters on a mixture's experts have no dropout. Use peft.dropout=0."
    if trains.as_reward and (kind in NO_HEAD or (kind not in table(*CLASSIFIERS) and kind not in table(*BODIES))):
        return f"{kind} cannot carry a reward model's head. Use stage=dpo, or a reward model of another architecture."
    if trains.generates and kind in OWN_CACHE:
        return f"PPO cannot sample from {kind}, which keeps its state apart from the cache. Use stage=dpo."
    return None


def target_fault(target: str) -> str:
    """Return why an adapter cannot be on the embeddings or the head."""
    return (
        f"peft.target_modules: {target} is the model's embedding or head. Adapters there are lost where the two share "
        "their weights, and neither stacked nor merged exactly. Name layers between them, or use peft=full."
    )


def _transformers() -> str:
    from importlib.metadata import version

    return version("transformers")
