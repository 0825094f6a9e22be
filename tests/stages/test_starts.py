"""DPO and PPO start at their reference for all kinds of logits; a DPO run that does not is stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.learning import DpoConfig, KlConfig, PpoConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import PipelineError
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model

    from pipeline.modeling import training, tuning
    from pipeline.modeling.passes import pad_rows
    from pipeline.modeling.roles import ValueStart, build_roles
    from pipeline.ppo.gathering import PpoTask
    from pipeline.ppo.loop import Loop
    from pipeline.ppo.sources import WeightedScorer

pytestmark = pytest.mark.slow

PLAIN = {"logging_steps": 1, "router_aux_loss_coef": 0.0}  # only the loss of the pairs


def run(model: Any, folder: Path, trainer: dict[str, Any] = PLAIN, **launch: Any) -> list[dict[str, float]]:
    """Run one step of DPO on eight pairs that changes nothing; return its history."""
    context = tiny.context(folder, **launch)
    config = DpoConfig(seed=0, batch_size=8, learning_rate=1e-12, evaluations=1, trainer=trainer)
    made = tuning.dpo_trainer(tiny.in_training(model), tiny.pairs(8), tiny.pairs(5, 1), config, context)
    return training.train(made, context, "dpo", 1)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_dpos_first_loss_is_log_2(name: str, tmp_path: Path) -> None:
    """Policy and reference are the same function, for all kinds of logits."""
    history = run(tiny.model(name), tmp_path, micro_batch_size=2)
    losses = [row[key] for row in history for key in ("loss", "eval_loss") if key in row]
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=1e-4)


def test_the_balance_of_experts_is_added_to_the_loss(tmp_path: Path) -> None:
    """It equals the model's own value for the whole batch."""
    model = tiny.model("granitemoe")
    rows = [side.prompt + side.answer for pair in tiny.pairs(8) for side in pair]
    ids, attention = pad_rows(rows, 1)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=attention, output_router_logits=True).aux_loss
    first = run(model, tmp_path, {"router_aux_loss_coef": 0.1})[0]
    assert first["loss"] == pytest.approx(math.log(2) + 0.1 * float(expected), rel=1e-3)
    assert first["aux_loss"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite"])
@pytest.mark.parametrize("how", ["a frozen base in bfloat16", "bfloat16 passes"])
def test_rounding_does_not_stop_dpo(name: str, how: str, tmp_path: Path) -> None:
    half, model = how != "bfloat16 passes", tiny.model(name)
    if half:  # trained weights, such as adapters on it, are float32
        adapters = LoraConfig(r=2, target_modules="all-linear")
        model = get_peft_model(model.to(torch.bfloat16).requires_grad_(False), adapters, adapter_name="default")
    first = run(model, tmp_path, micro_batch_size=2, mixed_precision="no" if half else "bf16")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=0.02)


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_dpo_that_does_not_start_at_its_reference_is_stopped(loss_type: str, tmp_path: Path) -> None:
    """With dropout in training the policy differs from its reference, so training stops at once."""
    model = tiny.model("opt", dropout=0.3)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(PipelineError, match=r"DPO does not start at its reference: an answer of \d+ tokens") as error:
        run(model, tmp_path, {"loss_type": loss_type})
    assert "OPTForCausalLM" in str(error.value)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


class Short:
    """A reward for short answers."""

    def score(self, prompts: Sequence[Any], given: Sequence[Any]) -> list[float]:
        return [-float(len(answer.ids)) for answer in given]


WITH_LORA = ("llama", "gemma2", "granite", "cohere2", "granitemoe")


@pytest.mark.parametrize(
    ("method", "name"), [*(("full", name) for name in tiny.CONFIGS), *(("lora", name) for name in WITH_LORA)]
)
def test_ppo_starts_at_its_reference(method: str, name: str, tmp_path: Path) -> None:
    """Ratio exactly 1 and KL exactly 0; sampling, scoring and learning use the whole head."""
    model = tiny.model(name)
    peft = PeftConfig(method, rank=2, target_modules="all-linear")
    if method == "lora":
        model = get_peft_model(model.requires_grad_(False), LoraConfig(r=2, target_modules="all-linear")).eval()
    roles = build_roles(tiny.in_training(model), ValueStart(), peft, 0, recompute=False)
    config = PpoConfig(
        **{"seed": 0, "iterations": 2, "rollouts": 8, "batch_size": 4, "epochs": 1, "max_new_tokens": 6},
        **{"learning_rate": 1e-3, "kl": KlConfig(), "peft": peft, "checkpoint_every": 2},
    )
    config.stop.distinct = 0.0
    ids = [row.prompt for row in tiny.answers(8)]
    task = PpoTask([[{"role": "user", "content": "w1"}]] * 8, ids, [WeightedScorer("function", Short(), 1.0)], {})
    _, history = Loop(task, roles, config, tiny.context(tmp_path)).run()
    assert history[0]["kl"] == 0.0
    assert [row["start_difference"] for row in history] == [0.0, 0.0]
    assert history[1]["kl"] != 0.0
