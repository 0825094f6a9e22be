"""Loaded models have exactly the weights of their files, nothing random, nothing left over, and no random passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.architectures import build

with lazily():
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    from pipeline.modeling.architecture import (
        classifier_of,
        context_length,
        measure_footprint,
        switch_off_dropout,
        switch_off_router_logits,
    )
    from pipeline.modeling.padding import check_padding
    from pipeline.modeling.policy import load_for_training, load_policy
    from pipeline.modeling.rewards.models import language_head, load_reward_for_training
    from pipeline.modeling.sources import source_of, tokenizer_of

CPU = "cpu"
NO_LIMIT = 10**9


def loaded(model: Artifact) -> torch.nn.Module:
    source = source_of(model)
    return load_policy(source, tokenizer_of(source)[0], torch.device(CPU))


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights of a saved model."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop(weights: dict[str, torch.Tensor]) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def add(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.2.mlp.up_proj.weight"] = torch.zeros(64, 32)


def reshape(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(8, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [(drop, "1 weights are missing"), (add, "unknown to this architecture"), (reshape, "shape")],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    model = build("llama", tmp_path / "model")
    rewritten(model.path, change)
    with pytest.raises(RequestError, match=message) as raised:
        loaded(model)
    assert str(model.path) in str(raised.value)


def test_masks_that_older_versions_saved_are_no_fault(tmp_path: Path) -> None:
    model = build("gpt2", tmp_path / "model")
    rewritten(model.path, lambda weights: weights.update({"transformer.h.0.attn.masked_bias": torch.zeros(1)}))
    assert loaded(model)


def test_a_reward_model_begins_with_a_new_head_and_nothing_else_new(tmp_path: Path) -> None:
    model = build("llama", tmp_path / "model")
    source, full = source_of(model), PeftConfig("full")
    tokenizer, _ = tokenizer_of(source)
    load_reward_for_training(source, tokenizer, torch.device(CPU), full, 0)
    rewritten(model.path, drop)
    with pytest.raises(RequestError, match="1 weights are missing"):
        load_reward_for_training(source, tokenizer, torch.device(CPU), full, 0)


def test_a_reward_model_has_no_head_for_words(tmp_path: Path) -> None:
    """Training it further with the SFT loss would need a head that was never saved."""
    model = build("llama", tmp_path / "model")
    source = source_of(model)
    tokenizer, _ = tokenizer_of(source)
    trained = load_reward_for_training(source, tokenizer, torch.device(CPU), PeftConfig("full"), 0)
    trained.save_pretrained(model.path)
    with pytest.raises(RequestError, match=r"lm_head\.weight"):
        language_head(source, tokenizer, torch.device(CPU))


def test_dropout_and_jitter_are_off_wherever_they_are_named() -> None:
    config = transformers.PhimoeConfig(router_jitter_noise=0.1, attention_dropout=0.2)
    switch_off_dropout(config)
    assert config.router_jitter_noise == config.attention_dropout == 0.0
    nested = transformers.Gemma3Config(text_config={"attention_dropout": 0.3}, vision_config={"attention_dropout": 0.4})
    switch_off_dropout(nested)
    assert nested.text_config.attention_dropout == nested.vision_config.attention_dropout == 0.0
    assert nested.text_config.rms_norm_eps > 0  # other fields are unchanged


def test_a_pass_in_training_is_the_pass_before_it(tmp_path: Path) -> None:
    """OPT calls the function `dropout`: turning off modules alone left it on."""
    model = loaded(build("opt", tmp_path / "model", dropout=0.5, layerdrop=0.5)).train()
    ids = torch.tensor([[1, 20, 30, 40]])
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_router_logits_are_asked_for_by_training_alone(tmp_path: Path) -> None:
    model = build("mixtral", tmp_path / "model", output_router_logits=True)
    assert not loaded(model).config.output_router_logits
    config = transformers.LlamaConfig()
    switch_off_router_logits(config)
    assert not hasattr(config, "output_router_logits")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (lambda: transformers.LlamaConfig(max_position_embeddings=77), 77),
        (lambda: transformers.GPT2Config(n_positions=77), 77),
        (lambda: transformers.MptConfig(max_seq_len=77), 77),
        (lambda: transformers.Gemma3Config(text_config={"max_position_embeddings": 77}), 77),
        (lambda: transformers.BloomConfig(seq_length=77), 77),
        (lambda: transformers.BloomConfig(), NO_LIMIT),
        (lambda: transformers.MambaConfig(), NO_LIMIT),
    ],
)
def test_the_context_is_found_under_every_name(
    config: Callable[[], transformers.PreTrainedConfig], expected: int
) -> None:
    assert context_length(config()) == expected


def test_experts_count_among_the_weights(tmp_path: Path) -> None:
    """Most weights of a mixture are experts, which bitsandbytes does not quantize: the share shows it."""
    for name, least, most in (("llama", 0.99, 1.0), ("mixtral", 0.01, 0.5)):
        model = build(name, tmp_path / name)
        source = source_of(model)
        tokenizer, _ = tokenizer_of(source)
        adapted = load_for_training(source, tokenizer, torch.device(CPU), PeftConfig("qlora", rank=2), 0)
        bits, share = measure_footprint(adapted)
        assert least <= share <= most
        assert bits == pytest.approx(4.127 * share + 32 * (1 - share), rel=0.05)
        whole = measure_footprint(loaded(model))
        assert whole == (32.0, 0.0)


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_adapters_stay_off_the_ends(tmp_path: Path, target: str) -> None:
    source = source_of(build("llama_tied", tmp_path / "model"))
    peft = PeftConfig("lora", target_modules=f"q_proj,{target}")
    with pytest.raises(RequestError, match="embedding or head"):
        load_for_training(source, tokenizer_of(source)[0], torch.device(CPU), peft, 0)


def test_targets_that_are_not_there_are_a_wrong_request(tmp_path: Path) -> None:
    source = source_of(build("llama", tmp_path / "model"))
    with pytest.raises(RequestError, match="no_such_layer"):
        load_for_training(
            source, tokenizer_of(source)[0], torch.device(CPU), PeftConfig("lora", target_modules="no_such_layer"), 0
        )


def test_a_head_of_our_own_leaves_nothing_uninitialized(tmp_path: Path) -> None:
    """Falcon H1 has buffers that are in no file: they must be computed when the model is built."""
    model = build("falcon_h1", tmp_path / "model")
    source = source_of(model)
    scored = load_reward_for_training(source, tokenizer_of(source)[0], torch.device(CPU), PeftConfig("full"), 0)
    expected = dict(loaded(model).named_buffers())
    assert {name for name in expected if "mup_vector" in name}
    for name, buffer in scored.named_buffers():
        assert torch.equal(buffer, expected[name]), name


def test_transformers_own_classification_class_is_used_where_there_is_one() -> None:
    assert classifier_of(transformers.LlamaConfig()) is transformers.AutoModelForSequenceClassification
    made = classifier_of(transformers.GraniteConfig())
    assert made.__name__ == "GraniteForSequenceClassification"
    assert not hasattr(transformers, made.__name__)


def test_a_saved_model_says_that_it_was_trained_without_dropout(tmp_path: Path) -> None:
    model = loaded(build("opt", tmp_path / "model"))
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dropout"] == 0.0


def test_an_architecture_that_overlooks_padding_is_refused(tmp_path: Path) -> None:
    """RWKV reads every token; in a batch it would also read the padding."""
    model = loaded(build("llama", tmp_path / "model"))
    check_padding(model.get_decoder(), 0, "llama")
    check_padding(model.get_decoder(), 0, "llama", cached=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 40, "context_length": 64, "intermediate_size": 32}
    torch.manual_seed(0)
    overlooks = transformers.RwkvForCausalLM(transformers.RwkvConfig(**sizes)).eval()
    with pytest.raises(RequestError, match="padding on the left"):
        check_padding(overlooks.get_decoder(), 0, "rwkv")


def test_an_architecture_that_keeps_its_state_elsewhere_is_refused(tmp_path: Path) -> None:
    """Mamba's cache argument has another name, and it ignores the cache of PPO's sampler."""
    elsewhere = loaded(build("mamba", tmp_path / "model")).get_decoder()
    check_padding(elsewhere, 0, "mamba")
    with pytest.raises(RequestError, match="cache that PPO's sampler keeps"):
        check_padding(elsewhere, 0, "mamba", cached=True)


def test_pickled_weights_of_the_hub_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    """The files of a repository are only known when they are downloaded."""
    model = build("llama", tmp_path / "model")
    torch.save(load_file(model.path / "model.safetensors"), model.path / "pytorch_model.bin")
    (model.path / "model.safetensors").unlink()
    with pytest.raises(RequestError, match="Convert it once: python -c"):
        loaded(model)
