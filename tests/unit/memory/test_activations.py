"""Bytes per token, counted by hand, and against what torch keeps."""

from __future__ import annotations

import pytest

from pipeline.memory.activations import Tuning, cache_kept, layer_kept, pass_kept
from pipeline.memory.phases import GROWTH, MAX_LOGITS, REWARD_BATCH
from pipeline.memory.shape import Shape
from tests.lazily import lazily

with lazily():
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    from pipeline.modeling import caching, passes
    from pipeline.modeling.rewards import roles

H, F, Q, K, HEADS = 8, 24, 8, 4, 2
SHAPE = Shape(vocabulary=100, hidden=H, inner=F, layers=3, heads=HEADS, kv_heads=1, head_dim=4, tied=True)


def test_full_training_in_float32_keeps_what_every_matrix_and_norm_needs() -> None:
    """Two norms keep input, normalized input and output; attention q, k, v and its result; the gate four widths."""
    expected = 4 * (2 * 3 * H + 2 * Q + 2 * K + 4 * F) + 4 * HEADS
    assert layer_kept(SHAPE, Tuning(), expanded=False) == expected
    assert layer_kept(SHAPE, Tuning(), expanded=True) == expected + 4 * 2 * (Q - K)


def test_adapters_on_bfloat16_keep_a_float32_copy_for_every_matrix() -> None:
    """Copies: three and two of the states, one of attention's result, one of the product; norms keep their input."""
    copies = 4 * (3 * H + 2 * H + Q + F)
    rest = 2 * 4 * H + 2 * (2 * Q + 2 * K + 3 * F) + 4 * HEADS + 7 * 16 * 4
    assert layer_kept(SHAPE, Tuning("lora", precision=2), expanded=False) == copies + rest


def test_adapters_on_4_bits_under_autocast_share_the_states() -> None:
    expected = 2 * 4 * H + 2 * (2 * H + 2 * Q + 2 * K + 4 * F) + 4 * HEADS + 7 * 16 * 2
    assert layer_kept(SHAPE, Tuning("qlora", precision=2, autocast=True), expanded=False) == expected


def test_recomputing_keeps_the_states_between_layers_and_one_layer() -> None:
    whole, layer = (
        pass_kept(SHAPE, Tuning(), expanded=False, recompute=False),
        layer_kept(SHAPE, Tuning(), expanded=False),
    )
    recomputed = pass_kept(SHAPE, Tuning(), expanded=False, recompute=True)
    assert whole - recomputed == 2 * layer - 3 * 4 * H


def test_the_cache_holds_keys_and_values_of_every_layer() -> None:
    assert cache_kept(SHAPE, Tuning("frozen", precision=2)) == 2 * 2 * K * 3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_torch_keeps_as_much(method: str) -> None:
    """The storages that autograd keeps in a pass of transformers' own model, weights left out."""
    shape = Shape(64, hidden=64, inner=160, layers=3, heads=4, kv_heads=2, head_dim=16, tied=True)
    made = transformers.AutoModel.from_config(
        transformers.LlamaConfig(
            vocab_size=64, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2,
        )
    )  # fmt: skip
    if method == "lora":
        made = get_peft_model(made.requires_grad_(False), LoraConfig(r=16, target_modules="all-linear"))
    weights = {p.untyped_storage().data_ptr() for p in made.parameters()}
    ids = torch.randint(64, (4, 128), generator=torch.Generator().manual_seed(0))
    attention = torch.ones_like(ids)
    attention[::2, -1] = 0
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(input_ids=ids, attention_mask=attention, use_cache=False)
    found = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)
    planned = ids.numel() * pass_kept(shape, Tuning(method), expanded=True, recompute=False, length=ids.shape[1])
    assert planned == pytest.approx(found, rel=0.03)


def test_passes_are_as_large_as_planned() -> None:
    """The plan needs no torch, so it has its own copy of these sizes."""
    assert (passes.MAX_LOGITS, roles.BATCH, caching.GROWTH) == (MAX_LOGITS, REWARD_BATCH, GROWTH)
