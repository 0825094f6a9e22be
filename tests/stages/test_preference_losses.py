"""DPO's losses compared with TRL's: equal values, gradients and figures on the same batch of a small model."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.losses import ANY_DIVERGENCE, LOSSES, SMOOTHED, TRL_LOSSES
from pipeline.config.nodes.learning import DpoConfig
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from trl import DPOTrainer

    from pipeline.modeling import tuning
    from pipeline.modeling.preferences.pairs import RenderedPair
    from pipeline.modeling.scoring import answer_logprobs

OPTIONS = ("beta", "label_smoothing", "f_divergence_type", "use_weighting")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer with a policy that differs from its reference."""
    model, context = tiny.model("llama"), tiny.context(tmp_path_factory.mktemp("trl"))
    config = DpoConfig(
        seed=0, batch_size=6, learning_rate=1e-3, trainer={"loss_type": "robust", "label_smoothing": 0.1}
    )
    made = tuning.dpo_trainer(tiny.in_training(model), tiny.pairs(6), tiny.pairs(3, 1), config, context)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return made


def computed(trainer: Any, compute: Any) -> tuple[float, torch.Tensor, dict[str, float]]:
    """Return loss, gradient and figures, computed by TRL or by this project."""
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    loss = compute(trainer.model.train(), trainer.inputs)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    return loss.item(), gradient, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def assert_alike(trainer: Any, ours: list[str], theirs: list[str], weights: list[float]) -> None:
    trainer.loss_weights, trainer.loss_types = weights, theirs
    expected = computed(trainer, lambda *given: DPOTrainer.compute_loss(trainer, *given))
    trainer.loss_types = ours
    found = computed(trainer, trainer._own_loss)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert torch.allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)
    assert expected[1].abs().max() > 1e-3
    assert found[2] == {
        name: pytest.approx(expected[2][name], rel=1e-6) for name in trainer.FIGURES if name != "aux_loss"
    }


@pytest.mark.parametrize("name", [name for name in LOSSES if name in TRL_LOSSES])
def test_a_loss_is_what_trl_computes(trainer: Any, name: str) -> None:
    trainer.inputs = next(iter(trainer.get_train_dataloader()))
    assert_alike(trainer, [name], [name], [0.7])


def test_conservative_dpo_is_what_trl_computes_for_a_pair_alone(trainer: Any) -> None:
    """TRL's sorted losses smooth labels like cDPO, and sorting has no effect on a single pair."""
    batch = trainer.data_collator([trainer.train_dataset[0]])
    trainer.inputs = batch
    assert_alike(trainer, ["cdpo"], ["aot_unpaired"], [1.0])


def test_losses_add_up_with_their_weights(trainer: Any) -> None:
    trainer.inputs = next(iter(trainer.get_train_dataloader()))
    types = ["sigmoid", "ipo", "sft"]
    assert_alike(trainer, types, types, [0.8, 0.2, 1.0])


def test_a_loss_that_trl_lacks_is_trained_with(tmp_path: Path) -> None:
    from pipeline.modeling import training

    trainer = {"logging_steps": 1, "loss_type": ["cdpo"], "label_smoothing": 0.2}
    config = DpoConfig(seed=0, epochs=20, batch_size=4, learning_rate=1e-2, evaluations=1, trainer=trainer)
    context = tiny.context(tmp_path, micro_batch_size=2)
    made = tuning.dpo_trainer(tiny.in_training(tiny.model("llama")), tiny.pairs(4), tiny.pairs(3, 1), config, context)
    rows = [row for row in training.train(made, context, "dpo", 1) if "loss" in row]
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    lowest = -(0.8 * torch.tensor(0.8).log() + 0.2 * torch.tensor(0.2).log())  # the entropy of such labels
    assert float(lowest) <= rows[-1]["loss"] < 0.6
    assert rows[-1]["accuracy"] == 1.0


def test_each_pair_is_learned_with_its_own_label_noise(tmp_path: Path) -> None:
    """The loss of an evaluation in micro batches, against the formula with each pair's noise."""
    noises = [0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.05]
    test = [RenderedPair(*sides, noise) for sides, noise in zip(tiny.pairs(7, 1), noises, strict=True)]
    config = DpoConfig(seed=0, batch_size=6, learning_rate=1e-3, beta=0.5, label_noise=True)
    model, context = tiny.model("llama"), tiny.context(tmp_path, micro_batch_size=2)
    made = tuning.dpo_trainer(tiny.in_training(model), test[:6], test, config, context)
    assert made.loss_types == ["cdpo"]
    before = answer_logprobs(model, [side for pair in test for side in pair[:2]], pad_id=1, batch_size=4)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    after = answer_logprobs(model, [side for pair in test for side in pair[:2]], pad_id=1, batch_size=4)
    ratios = [policy - reference for policy, reference in zip(after, before, strict=True)]
    gaps = [config.beta * (c - r) for c, r in zip(ratios[::2], ratios[1::2], strict=True)]
    assert max(map(abs, gaps)) > 0.1
    losses = [
        (1 - e) * math.log1p(math.exp(-d)) + e * math.log1p(math.exp(d)) for d, e in zip(gaps, noises, strict=True)
    ]
    assert made.evaluate()["eval_loss"] == pytest.approx(sum(losses) / 7, rel=1e-4)


def test_the_names_are_those_that_trl_knows() -> None:
    """The names are read from TRL's source: a release with more or fewer fails here."""
    import trl

    computed_by_trl = inspect.getsource(trl.DPOTrainer._compute_loss)
    known = re.findall(r'loss_type == "(\w+)"', computed_by_trl)
    assert sorted(known) == sorted(TRL_LOSSES)
    branches = dict(re.findall(r'loss_type == "(\w+)":(.*?)(?=elif loss_type|else:)', computed_by_trl, re.DOTALL))
    assert {name for name, text in branches.items() if "label_smoothing" in text} == {*SMOOTHED} & {*TRL_LOSSES}
    (divergent,) = re.findall(r"f_divergence_loss_types = \{(.*?)\}", inspect.getsource(trl.DPOTrainer.__init__))
    assert set(re.findall(r"\w+", divergent)) == set(ANY_DIVERGENCE)
