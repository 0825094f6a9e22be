"""Phases of a step, counted by hand; PPO's roles; and what a GPU needed."""

from dataclasses import replace

import pytest
import torch

from pipeline.memory.activations import Tuning, backward_transient, cache_kept, layer_transient, pass_kept
from pipeline.memory.phases import DRAWING, Held, Memory, Roles, Rows, Sampling, generation, ppo, training
from pipeline.memory.shape import Shape
from pipeline.modeling.caching import GrowingLayer
from tests.unit.memory.known_models import shape_named

SHAPE = Shape(vocabulary=1000, hidden=64, inner=128, layers=3, heads=4, kv_heads=2, head_dim=16, tied=True)
UNTIED = SHAPE._replace(tied=False)
ROWS = Rows(rows=2, length=10)
P = SHAPE.parameters
HALF = Tuning("lora", precision=2)


def test_the_peak_is_the_largest_phase_and_its_parts_add_up_to_it() -> None:
    memory = Memory({"one": {"a": 3.0, "b": 4.0}, "two": {"a": 5.0}})
    assert (memory.peak, memory.total, memory.parts) == ("one", 7.0, {"a": 3.0, "b": 4.0})


def test_full_training_holds_sixteen_bytes_for_each_weight_at_the_update() -> None:
    """Weights, gradients and Adam's two numbers (arXiv 1910.02054, section 3.1), and here the tied head's gradient."""
    update = training(Held(UNTIED, Tuning()), ROWS).phases["update"]
    assert sum(update.values()) == 16 * UNTIED.parameters
    tied = training(Held(SHAPE, Tuning()), ROWS).phases["update"]
    assert sum(tied.values()) == 16 * P + 4 * SHAPE.embeddings


def test_adapters_hold_sixteen_bytes_for_their_weights_alone() -> None:
    adapter = SHAPE.adapter(16)
    update = training(Held(SHAPE, HALF, below=5), ROWS).phases["update"]
    assert update == {
        "weights": 2 * P,
        "adapters": 4 * (adapter + 5),
        "optimizer": 8 * adapter,
        "gradients": 4 * adapter,
    }


def test_4_bits_hold_half_a_byte_for_a_weight_of_a_matrix_and_its_scale() -> None:
    """4.127 bits per weight with double quantization (arXiv 2305.14314, section 3)."""
    weights = Held(SHAPE, Tuning("qlora", precision=2)).parts["weights"]
    assert weights == pytest.approx(4.127 / 8 * SHAPE.linear + 2 * (P - SHAPE.linear), rel=1e-3)


def test_the_loss_holds_all_activations_and_a_chunk_of_logits() -> None:
    held = Held(SHAPE, HALF)
    parts = training(held, ROWS).phases["loss"]
    assert parts["activations"] == 20 * pass_kept(SHAPE, HALF, expanded=True, recompute=False, length=10)
    assert parts["logits"] == 20 * (12 * 1000 + 2 * 64)
    chunked = training(held, Rows(2, 100_000)).phases["loss"]["logits"]
    assert chunked == 12 * (2**23 // 1000) * 1000 + 200_000 * 2 * 64


def test_a_row_alone_has_no_mask() -> None:
    parts = training(Held(SHAPE, HALF), Rows(1, 10)).phases["loss"]
    assert parts["activations"] == 10 * pass_kept(SHAPE, HALF, expanded=False, recompute=False)


def test_gradients_of_several_passes_stay_beside_the_activations() -> None:
    held = Held(SHAPE, Tuning())
    once, several = (training(held, replace(ROWS, accumulate=one)).phases["layers"] for one in (False, True))
    assert (once["gradients"], several["gradients"]) == (4 * SHAPE.embeddings, 4 * P)


def test_a_reward_model_has_no_language_head_and_no_logits() -> None:
    held = Held(UNTIED, Tuning(), with_head=False, language_loss=False)
    assert held.parts["weights"] == 4 * (UNTIED.parameters - UNTIED.embeddings)
    assert "logits" not in training(held, ROWS).phases["loss"]
    beside = replace(held, language_loss=True)  # reward.sft_weight: the policy's head, frozen
    assert beside.parts["weights"] - held.parts["weights"] == 4 * UNTIED.embeddings
    assert training(beside, ROWS).phases["loss"]["logits"] > 0


def test_sampling_holds_the_cache_of_all_rows_and_the_logits_of_one_token() -> None:
    held = Held(SHAPE, Tuning("frozen", precision=2))
    parts = generation(held, Sampling(rows=4, prompt=6, new=10)).phases["sampling"]
    more = generation(held, Sampling(rows=4, prompt=6, new=10, most=9)).phases["sampling"]
    assert parts["KV cache"] == 4 * (6 + 64) * cache_kept(SHAPE, held.tuning) * (1 + 1 / 3)
    assert parts["logits"] == 4 * DRAWING * 1000
    assert more == {**parts, "logits": 9 * DRAWING * 1000}, "short prompts make larger batches of as many tokens"
    assert parts["activations"] == 4 * 6 * layer_transient(SHAPE, held.tuning)


def test_a_cache_has_room_for_the_tokens_that_the_sampler_made_room_for() -> None:
    """Against the cache itself: one layer, a row of one head and one number."""
    for prompt, new in ((6, 1), (6, 10), (5, 64), (5, 65), (5, 66), (7, 130), (7, 131), (40, 256)):
        layer = GrowingLayer()
        for tokens in (prompt, *[1] * (new - 1)):
            layer.update(*torch.zeros(2, 1, 1, tokens, 1))
        assert Sampling(1, prompt, new).cached == layer.rooms[0].shape[2], (prompt, new)


# -- PPO ---------------------------------------------------------------------------------------------------------------


def test_ppo_with_full_weights_holds_four_models_and_learns_from_one_after_the_other() -> None:
    memory = ppo(Roles(Held(UNTIED, Tuning())), ROWS, Sampling(4, 6, 4))
    body = UNTIED.parameters - UNTIED.embeddings
    roles = {name: memory.phases["update"][name] for name in ("weights", "reference", "value and reward models")}
    whole = 4 * UNTIED.parameters
    assert roles == {"weights": whole, "reference": whole, "value and reward models": 2 * 4 * body}
    assert memory.phases["update"]["optimizer"] == 8 * (UNTIED.parameters + body)
    assert memory.phases["value layers"]["gradients"] == 4 * UNTIED.parameters, (
        "the policy's, which wait for the update"
    )
    value = 20 * pass_kept(UNTIED, Tuning(), expanded=True, recompute=False, length=10)
    assert memory.phases["value layers"]["activations"] == value + 20 * backward_transient(UNTIED, Tuning())


def test_ppo_with_adapters_holds_one_base() -> None:
    memory = ppo(Roles(Held(SHAPE, HALF)), ROWS, Sampling(4, 6, 4))
    assert {parts["weights"] for parts in memory.phases.values()} == {2 * P}
    assert memory.parts["adapters"] == 4 * 3 * SHAPE.adapter(16), "of the policy, the value model and the reward model"


@pytest.mark.parametrize("held", [Held(UNTIED, Tuning()), Held(SHAPE, HALF)])
def test_without_a_value_model_its_weights_and_its_optimizer_are_not_planned(held: Held) -> None:
    with_value, without = (ppo(Roles(held, valued=one), ROWS, Sampling(4, 6, 4)) for one in (True, False))
    assert set(with_value.phases) - set(without.phases) == {"value layers"}
    trained = Roles(held).value.trainable
    update = [sum(memory.phases["update"].values()) for memory in (with_value, without)]
    assert update[0] - update[1] == 16 * trained, "its weights, gradients and Adam's two numbers"


@pytest.mark.parametrize(
    ("tuning", "temperature", "bytes_per_logit"),
    [(Tuning(), 1.0, 8), (Tuning(), 0.7, 12), (HALF, 1.0, 10), (HALF, 0.7, 10)],
)
def test_ppo_holds_logits_and_their_distribution_where_it_learns(
    tuning: Tuning, temperature: float, bytes_per_logit: int
) -> None:
    roles = Roles(Held(SHAPE, tuning), temperature=temperature)
    logits = ppo(roles, ROWS, Sampling(4, 6, 4)).phases["policy loss"]["logits"]
    assert logits == 20 * (bytes_per_logit * 1000 + tuning.states * 64)


def test_a_judge_that_watches_is_a_model_of_its_own() -> None:
    without, watched = (ppo(Roles(Held(SHAPE, HALF), judge=one), ROWS, Sampling(4, 6, 4)) for one in (False, True))
    assert watched.total - without.total == 2 * P + 4 * SHAPE.adapter(16)
    whole = ppo(Roles(Held(UNTIED, Tuning()), judge=True), ROWS, Sampling(4, 6, 4))
    assert whole.parts["judge"] == 4 * (UNTIED.parameters - UNTIED.embeddings)


# -- measured on a GPU -------------------------------------------------------------------------------------------------

GIB = 2**30
BIG = {  # benchmarks/gpu/random_models.py
    "0.5b": Shape(151_936, 896, 4864, 24, 14, 2, 64, tied=True),
    "8b": shape_named("llama3_1_8b"),
}
QLORA = Tuning("qlora", precision=2, autocast=True)


@pytest.mark.parametrize(
    ("shape", "tuning", "rows", "measured"),
    [
        ("0.5b", HALF, Rows(8, 1024, padded=False), 16.39),
        ("8b", HALF, Rows(2, 2048, padded=False), 51.94),
        ("8b", QLORA, Rows(1, 512, recompute=True), 5.96),
        ("8b", QLORA, Rows(2, 512, 256, padded=False, recompute=True), 6.19),
    ],
)
def test_the_plan_meets_what_an_h100_needed(shape: str, tuning: Tuning, rows: Rows, measured: float) -> None:
    """benchmarks/gpu/results/2026-11-27.md: SFT, and DPO with two rows a pair. All rows were of one length: no mask."""
    planned = training(Held(BIG[shape], tuning), rows).total / GIB
    assert planned == pytest.approx(measured, rel=0.15)


def test_the_plan_meets_what_an_h100_needed_for_ppo() -> None:
    roles = Roles(Held(BIG["8b"], QLORA), rewards=0, gpu=True)
    planned = ppo(roles, Rows(8, 512, 256, recompute=True, accumulate=True), Sampling(32, 256, 256)).total / GIB
    assert planned == pytest.approx(8.65, rel=0.15)


def test_the_plan_meets_what_an_h100_needed_for_a_reward_model() -> None:
    held = Held(BIG["8b"], QLORA, with_head=False, language_loss=False)
    assert training(held, Rows(2, 512, padded=False, recompute=True)).total / GIB == pytest.approx(5.21, rel=0.15)
