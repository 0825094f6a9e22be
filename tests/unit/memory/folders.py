"""Model folders with weights of the shapes that their configuration describes."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.memory.known_models import decoder
from tests.unit.model_files.folders import model, words

SIZES: dict[str, Any] = {**decoder("llama", 16, 48, 2, 4, 2, 32), "architectures": ["LlamaForCausalLM"]}


def small_model(folder: Path, **changes: Any) -> Path:
    """A model of 6,000 weights, with a tokenizer in which every word is a token."""
    config = {**SIZES, **changes}
    h, f, v, k = config["hidden_size"], config["intermediate_size"], config["vocab_size"], config["hidden_size"] // 2
    attention = {"q_proj": (h, h), "k_proj": (k, h), "v_proj": (k, h), "o_proj": (h, h)}
    feed_forward = {"gate_proj": (f, h), "up_proj": (f, h), "down_proj": (h, f)}
    shapes = {"model.embed_tokens.weight": (v, h), "lm_head.weight": (v, h), "model.norm.weight": (h,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{name}.weight": shape for name, shape in attention.items()}
        shapes |= {f"{layer}.mlp.{name}.weight": shape for name, shape in feed_forward.items()}
        shapes |= {f"{layer}.{name}.weight": (h,) for name in ("input_layernorm", "post_attention_layernorm")}
    weights = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    tokenizer = {
        **words(v),
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {f"w{n}": n for n in range(v)}, "unk_token": "w0"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "added_tokens": [],
    }
    return model(folder, config, weights=weights, **{"tokenizer.json": tokenizer})
