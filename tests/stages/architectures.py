"""Tiny random models of many architectures, built from config: two layers, or as many as their pattern needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.nodes.models import BaseConfig
from pipeline.store.artifact import Artifact
from tests.lazily import lazily

with lazily():
    import torch
    import transformers

    from pipeline.modeling.pretraining import train_tokenizer

WORDS = [
    "My kettle hums at night. What should I do? Wrap the kettle in wet wool, please.",
    "My bicycle rattles in the rain. What now? No idea at all about it.",
    "The lamp sings, the door leaks, and the clock sleeps until it no longer rattles.",
]
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
LONG = {**SIZE, "max_position_embeddings": 256}
GROUPED = {**LONG, "num_key_value_heads": 2}
WINDOW = {"sliding_window": 16}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
LOCAL = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"layer_types": ["linear_attention", "full_attention"]},
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
VISION = {
    "vision_config": {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"image_size": 28, "patch_size": 14},
    },
    **{"mm_tokens_per_image": 1, "boi_token_index": 5, "eoi_token_index": 6, "image_token_index": 7},
}

# model type (with a suffix if it occurs twice) -> its configuration class and fields
ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # dense, with separate heads or heads tied to the embeddings
    "llama": ("LlamaConfig", GROUPED),
    "llama_tied": ("LlamaConfig", {**GROUPED, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 8, "tie_word_embeddings": True}),
    "olmo2": ("Olmo2Config", GROUPED),
    "stablelm": ("StableLmConfig", GROUPED),
    "smollm3": ("SmolLM3Config", GROUPED),
    "phi": ("PhiConfig", GROUPED),
    "gpt2": ("GPT2Config", GPT),
    "gptj": ("GPTJConfig", {**GPT, "rotary_dim": 4}),
    "gpt_neox": ("GPTNeoXConfig", LONG),
    "opt": ("OPTConfig", {**LONG, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "opt_350m": ("OPTConfig", {**LONG, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "expansion_ratio": 2}),
    "falcon": ("FalconConfig", LONG),
    # sliding windows
    "mistral": ("MistralConfig", {**GROUPED, **WINDOW}),
    "phi3": ("Phi3Config", {**GROUPED, **WINDOW}),
    "starcoder2": ("Starcoder2Config", {**GROUPED, **WINDOW}),
    "gemma3_text": ("Gemma3TextConfig", {**GROUPED, **LOCAL, "head_dim": 8}),
    # capped or scaled logits
    "gemma2": (
        "Gemma2Config",
        {**GROUPED, **WINDOW, "head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    ),
    "granite": ("GraniteConfig", {**GROUPED, "logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    "cohere": ("CohereConfig", {**GROUPED, "logit_scale": 0.0625}),
    "gemma4_text": (
        "Gemma4TextConfig",
        {
            **{**GROUPED, **LOCAL, "head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": 8},
            **{"vocab_size_per_layer_input": 320, "final_logit_softcapping": 2.0},
        },
    ),
    # mixtures of experts
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3MoeConfig", {**GROUPED, **EXPERTS, "head_dim": 8, "decoder_sparse_step": 1}),
    "olmoe": ("OlmoeConfig", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": ("GraniteMoeConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": (
        "GptOssConfig",
        {**GROUPED, **LOCAL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    # attention combined or alternating with recurrence
    "bamba": (
        "BambaConfig",
        {
            **{**GROUPED, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
            **{"mamba_chunk_size": 8},
        },
    ),
    "qwen3_5": ("Qwen3_5TextConfig", {**GROUPED, **LINEAR, "head_dim": 8}),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**GROUPED, **LINEAR, **EXPERTS, "head_dim": 8, "shared_expert_intermediate_size": 32},
    ),
    "lfm2": ("Lfm2Config", {**GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "falcon_h1": (
        "FalconH1Config",
        {
            **GROUPED,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 8,
        },
    ),
    "jamba": (
        "JambaConfig",
        {
            **{**GROUPED, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2},
            **{"expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8, "use_mamba_kernels": False},
        },
    ),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {**SIZE, "num_hidden_layers": 3, "num_key_value_heads": 1, "lru_width": 32, "attention_window_size": 16},
    ),
    "mamba": ("MambaConfig", MAMBA),
    # text input for vision-language models
    "gemma3": (
        "Gemma3Config",
        {"text_config": {**GROUPED, **LOCAL, "head_dim": 8}, **VISION},
    ),
}

# architecture -> another one that runs the same lines of ours with full training and with QLoRA
ALIKE: Mapping[str, str] = {
    **{"qwen2": "llama_tied", "qwen3": "llama_tied", "olmo2": "llama", "stablelm": "llama", "smollm3": "llama"},
    **{"phi": "llama", "phi3": "mistral", "starcoder2": "mistral", "gptj": "opt", "gpt_neox": "bloom", "mpt": "bloom"},
    **{"cohere": "granite", "qwen3_moe": "mixtral", "olmoe": "mixtral"},
}


@cache
def small_tokenizer() -> Any:
    return train_tokenizer(WORDS * 8, BaseConfig(vocabulary=300, context=256))


def build(name: str, folder: Path, **changes: Any) -> Artifact:
    """Build a random model with a small tokenizer, as an artifact of `model.path`; the name is the seed."""
    tokenizer = small_tokenizer()
    kind, fields = ARCHITECTURES[name]
    ids = {
        **{"vocab_size": -(-len(tokenizer) // 8) * 8 + 8, "bos_token_id": tokenizer.bos_token_id},
        **{"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id},
    }
    ids["initializer_range"] = 0.1  # large enough to show a wrong mask or position
    nested = {"text_config": {**fields["text_config"], **ids}} if "text_config" in fields else {}
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**{**fields, **ids, **nested, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return given(folder)


def given(folder: Path) -> Artifact:
    """Return a user's model as the planner passes it to a stage."""
    source = {"path": str(folder), "dtype": "float32", "chat_template": None}
    return Artifact("model", folder.name, folder, {"source": source})


METHODS = ("full", "lora", "qlora")
TRAINED = ("sft", "dpo", "reward", "ppo")
STAGE_NAMES = (*TRAINED, "evaluate", "export")

# refusals of the planner: architecture -> (methods, stages, a part of the message)
REFUSED: Mapping[str, list[tuple[tuple[str, ...], tuple[str, ...], str]]] = {
    "falcon": [(("qlora",), TRAINED, "cannot be quantized by bitsandbytes")],
    "mamba": [
        (("qlora",), TRAINED, "cannot be quantized by bitsandbytes"),
        (METHODS, ("reward",), "cannot carry a reward model's head"),
        (METHODS, ("ppo",), "PPO cannot sample from"),
    ],
    "recurrent_gemma": [(METHODS, STAGE_NAMES, "reads padding like text")],
}


def refusal(name: str, method: str, stage: str) -> str | None:
    """Return a part of the expected refusal message; None if the stage must succeed."""
    told = (words for methods, stages, words in REFUSED.get(name, ()) if method in methods and stage in stages)
    return next(told, None)
