"""Folders as `save_pretrained` leaves them, made without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10, "num_hidden_layers": 2}


def weights(layers: int = 2, rows: int = 10) -> dict[str, np.ndarray]:
    small = np.zeros((4, 4), dtype=np.float32)
    inside = {f"model.layers.{i}.mlp.up_proj.weight": small for i in range(layers)}
    return {"model.embed_tokens.weight": np.zeros((rows, 4), dtype=np.float32), **inside}


def words(count: int, specials: tuple[str, ...] = ()) -> dict[str, Any]:
    added = [{"id": count + n, "content": token, "special": True} for n, token in enumerate(specials)]
    return {"model": {"vocab": {f"w{n}": n for n in range(count)}}, "added_tokens": added}


def model(folder: Path, config: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A folder as `save_pretrained` leaves it, with parts changed, or left out where they are None."""
    folder.mkdir(parents=True)
    parts = {
        "config.json": {**LLAMA, **(config or {})},
        "tokenizer.json": words(10),
        "tokenizer_config.json": {"eos_token": "w1"},
        **changes,
    }
    shapes = parts.pop("weights", weights())
    if shapes is not None:
        save_file(shapes, folder / "model.safetensors")
    for name, value in parts.items():
        if value is not None:
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def adapter(folder: Path, **said: Any) -> Path:
    folder.mkdir(parents=True)
    own = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], **said}
    (folder / "adapter_config.json").write_text(json.dumps(own))
    save_file({"a": np.zeros(1, dtype=np.float32)}, folder / "adapter_model.safetensors")
    return folder
