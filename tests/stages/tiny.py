"""Tiny random models of many architectures with one small tokenizer, ready for training."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config.nodes.machine import LaunchConfig, ServerConfig, ServingConfig
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from tests.lazily import lazily

with lazily():
    import tokenizers
    import torch
    import transformers
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    from pipeline.modeling.architecture import measure_footprint
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.in_training import ModelInTraining
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.sources import PolicySource

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = [f"w{i}" for i in range(60)]
SIZE = {
    **{"vocab_size": len(SPECIAL) + len(WORDS), "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"max_position_embeddings": 128, "initializer_range": 0.3},
}
GROUPED = {**SIZE, "num_key_value_heads": 2}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
LATENT = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": SIZE["vocab_size"]}

# The configuration class and its options. Each has another kind of step between states and logits.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GROUPED),  # nothing
    "gpt2": ("GPT2Config", {**SIZE, **GPT2}),
    "opt": ("OPTConfig", {**SIZE, "ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0}),
    "gemma2": ("Gemma2Config", {**GROUPED, "head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 3.0}),
    "gemma3_text": ("Gemma3TextConfig", {**GROUPED, "head_dim": 8, "final_logit_softcapping": 3.0}),
    "gemma4_text": (
        "Gemma4TextConfig",
        {**GROUPED, **PER_LAYER, "head_dim": 8, "global_head_dim": 8, "final_logit_softcapping": 3.0},
    ),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {**SIZE, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8, "logits_soft_cap": 3.0},
    ),
    "granite": ("GraniteConfig", {**GROUPED, "logits_scaling": 8.0}),
    "cohere": ("CohereConfig", {**GROUPED, "logit_scale": 0.0625}),
    "cohere2": ("Cohere2Config", {**GROUPED, "head_dim": 8, "logit_scale": 0.0625, "sliding_window": 8}),
    "falcon_h1": ("FalconH1Config", {**GROUPED, **MAMBA, "lm_head_multiplier": 0.04}),
    "minicpm3": ("MiniCPM3Config", {**SIZE, **LATENT, "num_key_value_heads": 4}),
    "granitemoe": ("GraniteMoeConfig", {**GROUPED, "num_local_experts": 4, "logits_scaling": 8.0}),
    "modernbert_decoder": ("ModernBertDecoderConfig", {**SIZE, "cls_token_id": 0, "sep_token_id": 2}),
}
PLAIN = ("llama", "gpt2", "opt")  # a bare linear head


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one id per word, separate bos, pad, eos and unk, and a plain template."""
    ids = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    words = tokenizers.Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% else %} w0 {% endif %}"
        "{% endfor %}"
    )
    return made


def model(name: str, seed: int = 0, **changes: Any) -> Any:
    """Return a random model of an architecture in evaluation mode, with logits far from uniform."""
    kind, options = CONFIGS[name]
    torch.manual_seed(seed)
    config = getattr(transformers, kind)(**{**options, **changes})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def in_training(made: Any) -> ModelInTraining:
    words = tokenizer()
    source = PolicySource("tiny", "tiny")
    return ModelInTraining(made, words, ChatFormat(words), source, torch.device("cpu"), measure_footprint(made))


def context(folder: Path, said: Callable[[str], None] = lambda _: None, **launch: Any) -> StageContext:
    runtime = Runtime(LaunchConfig(device="cpu", **launch), 1)
    return StageContext({}, folder, runtime, progress, said, lambda *_: None)


def served_context(folder: Path, policy: str, url: str, concurrency: int, **options: Any) -> StageContext:
    """Return a context in which a server draws the answers of one policy."""
    given = context(folder)
    generation = ServingConfig("vllm", [ServerConfig(policy, url)], concurrency=concurrency, **options)
    return replace(given, runtime=replace(given.runtime, generation=generation))


def answers(count: int, seed: int = 0) -> list[AnsweredPrompt]:
    """Return answers of one to nine tokens, so that means of batch means differ much from means over tokens."""
    rng = random.Random(seed)
    ids = [[rng.randrange(4, 64) for _ in range(rng.choice((3, 4, 11)))] for _ in range(count)]
    return [AnsweredPrompt(row[:2], [*row[2:], 2]) for row in ids]


def pairs(count: int, seed: int = 0) -> list[tuple[AnsweredPrompt, AnsweredPrompt]]:
    other = answers(count, seed + 100)
    return [(a, AnsweredPrompt(a.prompt, b.answer)) for a, b in zip(answers(count, seed), other, strict=True)]
