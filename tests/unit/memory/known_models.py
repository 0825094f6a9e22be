"""Configurations of published models, as their config.json files have them, and their published numbers of weights.

The numbers are those that the hub shows for their safetensors files. A shape is right when its own count meets them:
they follow from the sizes, and nothing here was computed from the other.
"""

from typing import Any, NamedTuple

from pipeline.memory.shape import shape_of


class Known(NamedTuple):
    """A published model."""

    config: dict[str, Any]
    weights: int  # a tied head counted once


def decoder(
    kind: str, hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    attention = {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return {"model_type": kind, "vocab_size": vocabulary, **sizes, **attention, "dtype": "bfloat16", **more}


SMOL = {"tie_word_embeddings": True, "max_position_embeddings": 8192}
TIED = {"tie_word_embeddings": True}
QWEN = {"head_dim": 128, "max_position_embeddings": 40_960}
LLAMA = {"max_position_embeddings": 131_072}
GEMMA_4B = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34}

KNOWN = {
    "smollm2_135m": Known(decoder("llama", 576, 1536, 30, 9, 3, 49_152, **SMOL), 134_515_008),
    "smollm2_360m": Known(decoder("llama", 960, 2560, 32, 15, 5, 49_152, **SMOL), 361_821_120),
    "smollm2_1_7b": Known(decoder("llama", 2048, 8192, 24, 32, 32, 49_152, **SMOL), 1_711_376_384),
    "qwen3_0_6b": Known(decoder("qwen3", 1024, 3072, 28, 16, 8, 151_936, **TIED, **QWEN), 596_049_920),
    "qwen3_4b": Known(decoder("qwen3", 2560, 9728, 36, 32, 8, 151_936, **TIED, **QWEN), 4_022_468_096),
    "qwen3_8b": Known(decoder("qwen3", 4096, 12_288, 36, 32, 8, 151_936, **QWEN), 8_190_735_360),
    "llama3_2_1b": Known(decoder("llama", 2048, 8192, 16, 32, 8, 128_256, head_dim=64, **TIED, **LLAMA), 1_235_814_400),
    "llama3_2_3b": Known(
        decoder("llama", 3072, 8192, 28, 24, 8, 128_256, head_dim=128, **TIED, **LLAMA), 3_212_749_824
    ),
    "llama3_1_8b": Known(decoder("llama", 4096, 14_336, 32, 32, 8, 128_256, **LLAMA), 8_030_261_248),
    "gemma3_1b": Known(
        decoder("gemma3_text", 1152, 6912, 26, 4, 1, 262_144, head_dim=256, max_position_embeddings=32_768), 999_885_952
    ),
    "gemma3_4b": Known({"model_type": "gemma3", "text_config": GEMMA_4B, "dtype": "bfloat16"}, 4_300_079_472),
    "mistral_7b": Known(
        decoder("mistral", 4096, 14_336, 32, 32, 8, 32_768, max_position_embeddings=32_768), 7_248_023_552
    ),
}


def shape_named(name: str) -> Any:
    """Return the shape of a published model."""
    shape = shape_of(KNOWN[name].config, KNOWN[name].weights)
    assert shape is not None
    return shape
