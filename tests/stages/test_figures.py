"""Losses, gradients and figures are exact means over rows and tokens for every size of micro batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import load
from pipeline.config.nodes.learning import DpoConfig, RewardConfig
from pipeline.config.nodes.models import BaseConfig, SftConfig
from pipeline.errors import PipelineError
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    from pipeline.modeling import training, tuning
    from pipeline.modeling.chat.rendering import Rendered
    from pipeline.modeling.pretraining import base_trainer, untrained_model
    from pipeline.modeling.rewards.models import initialize_head
    from pipeline.modeling.rewards.training import Pair, reward_trainer
    from pipeline.modeling.scoring import AnsweredPrompt

pytestmark = pytest.mark.slow

MICRO = (None, 4, 1)
ROWS = 19  # batches of 8: the last one has 3, less than a micro batch of 4
COMMON: dict[str, Any] = {
    **{"seed": 0, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.0, "evaluations": 3},
    # plain gradient descent without clipping: the change of the weights is the sum of the gradients
    **{"keep_best": False, "trainer": {"logging_steps": 1, "optim": "sgd", "max_grad_norm": 0}},
}


def whole(row: AnsweredPrompt) -> Rendered:
    return Rendered(row.prompt + row.answer, [0] * len(row.prompt) + [1] * len(row.answer))


class Run:
    """A training run, from the same weights each time, and its results."""

    def __init__(self, stage: str, micro: int | None, folder: Path, **changes: Any) -> None:
        context = tiny.context(folder / f"{micro}", micro_batch_size=micro)
        context.output_dir.mkdir()
        options = {**COMMON, **changes}
        if stage == "sft":
            self.in_training = tiny.in_training(tiny.model("llama"))
            rows = [[whole(row) for row in tiny.answers(*given)] for given in ((ROWS, 0), (7, 1))]
            trainer = tuning.sft_trainer(self.in_training, *rows, SftConfig(**options), context)
        elif stage == "dpo":
            self.in_training = tiny.in_training(tiny.model("llama"))
            trainer = tuning.dpo_trainer(
                self.in_training, tiny.pairs(ROWS), tiny.pairs(7, 1), DpoConfig(**options), context
            )
        else:
            self.in_training = tiny.in_training(classifier())
            rows = [rankings(*given) for given in ((ROWS, 0), (7, 1))]
            trainer = reward_trainer(self.in_training, *rows, RewardConfig(**options), context)
        self.trainer, self.context = trainer, context

    def trained(self) -> Run:
        self.history = training.train(self.trainer, self.context, "training", 3)
        return self

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.in_training.model.named_parameters()}

    def seen(self, *names: str) -> list[list[float]]:
        """Return these figures for all rows of the history that have them."""
        return [[row[name] for name in names] for row in self.history if names[0] in row]


def classifier() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**tiny.GROUPED, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(config)
    initialize_head(model.score, 0)
    return model


def rankings(count: int, seed: int) -> list[Pair]:
    """Return pairs: every third prompt has three answers in three pairs, the others have two answers."""
    found = []
    for i, (a, b) in enumerate(tiny.pairs(count, seed)):
        found.append(Pair(a, b, 0.5, i))
        if i % 3 == 0:
            c = AnsweredPrompt(a.prompt, [5, 6, 2])
            found += [Pair(a, c, 1.0, i), Pair(c, b, 0.25, i)]
    return found


STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "dpo": ("dpo", {}),
    "dpo with SFT": ("dpo", {"sft_weight": 0.5}),
    "dpo, two losses": ("dpo", {"trainer": {**COMMON["trainer"], "loss_type": ["ipo", "hinge"]}}),
    "reward": ("reward", {}),
    "reward with all": ("reward", {"sft_weight": 0.5, "token_weight": 0.5, "margin": True}),
}


@pytest.mark.parametrize("name", STAGES)
def test_micro_batches_give_the_same_gradients_weights_and_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a last batch smaller than a micro batch; the losses of all steps and evaluations are equal too."""
    head = tiny.model("llama")
    monkeypatch.setattr("pipeline.modeling.rewards.training.language_head", lambda *_: whole_head(head))
    stage, changes = STAGES[name]
    runs = [Run(stage, micro, tmp_path, **changes).trained() for micro in MICRO]
    columns = [("loss", "grad_norm"), ("eval_loss",), ("tokens",)]
    columns += [] if stage == "sft" else [("margin",), ("accuracy",), ("eval_accuracy", "eval_margin")]
    assert len(runs[0].seen("loss")) == 6
    for run in runs[1:]:
        for names in columns:
            rows = list(zip(run.seen(*names), runs[0].seen(*names), strict=True))
            for ours, theirs in rows[1:] if stage == "dpo" else rows:  # at the start all pairs of DPO are ties
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5), names
        for key, value in runs[0].weights.items():
            assert torch.allclose(value, run.weights[key], atol=1e-5), key
    start = dict((classifier() if stage == "reward" else tiny.model("llama")).named_parameters())
    assert max(float((value - start[key]).detach().abs().max()) for key, value in runs[0].weights.items()) > 3e-3


def whole_head(model: Any) -> Any:
    from pipeline.modeling.heads import LanguageHead

    return LanguageHead(model.requires_grad_(False))


def logprob(model: Any, row: AnsweredPrompt) -> torch.Tensor:
    """Return log-probabilities, [answer tokens], of a single row."""
    ids = row.prompt + row.answer
    logs = model(input_ids=torch.tensor([ids])).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
    return logs.gather(1, torch.tensor(row.answer)[:, None])[:, 0]


@pytest.mark.parametrize("micro", MICRO)
def test_sfts_evaluation_loss_is_the_mean_over_answer_tokens(micro: int | None, tmp_path: Path) -> None:
    run = Run("sft", micro, tmp_path).trained()
    with torch.no_grad():
        logs = torch.cat([logprob(run.in_training.model.eval(), row) for row in tiny.answers(7, 1)])
    assert run.seen("eval_loss")[-1] == [pytest.approx(-float(logs.mean()), rel=1e-5)]


@pytest.mark.parametrize("micro", MICRO)
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_dpos_figures_are_means_over_pairs(micro: int | None, sft_weight: float, tmp_path: Path) -> None:
    """Accuracy, margin and loss of the evaluation equal those computed from policy and reference, pair by pair."""
    run = Run("dpo", micro, tmp_path, sft_weight=sft_weight).trained()
    policy, reference = run.in_training.model.eval(), tiny.model("llama")
    with torch.no_grad():
        logs = [[[logprob(m, side) for m in (policy, reference)] for side in pair] for pair in tiny.pairs(7, 1)]
    ratios = [[float(p.sum() - r.sum()) for p, r in sides] for sides in logs]
    margins = [0.1 * (chosen - rejected) for chosen, rejected in ratios]
    loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / 7
    chosen = torch.cat([sides[0][0] for sides in logs])
    accuracy, margin, seen = run.seen("eval_accuracy", "eval_margin", "eval_loss")[-1]
    assert accuracy == pytest.approx(sum(m > 0 for m in margins) / 7)
    assert margin == pytest.approx(sum(margins) / 7, abs=1e-5)
    assert seen == pytest.approx(loss - sft_weight * float(chosen.mean()), rel=1e-4)


def ids(row: AnsweredPrompt) -> tuple[int, ...]:
    return (*row.prompt, *row.answer)


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_tokens_are_counted_once_and_without_padding(stage: str, tmp_path: Path) -> None:
    """Each answer of a ranking counts once, also if it is in several pairs."""
    run = Run(stage, 4, tmp_path).trained()
    if stage == "sft":
        answers = {(i, row) for i, row in enumerate(map(ids, tiny.answers(ROWS)))}
    elif stage == "dpo":
        answers = {(i, side, ids(row)) for i, pair in enumerate(tiny.pairs(ROWS)) for side, row in enumerate(pair)}
    else:
        answers = {(pair.group, ids(row)) for pair in rankings(ROWS, 0) for row in (pair.chosen, pair.rejected)}
    real = sum(len(answer[-1]) for answer in answers)
    assert run.seen("tokens")[-1] == [2 * real]
    assert training.training_cost(run.trainer)["tokens"] == 2 * real
    assert not {"num_input_tokens_seen", "num_tokens"} & run.history[-1].keys()


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_tokens_cannot_be_counted_twice(stage: str) -> None:
    """Only transformers' counter is used; the history leaves out TRL's."""
    with pytest.raises(PipelineError, match=r"include_num_input_tokens_seen.*padding aside"):
        load([f"{stage}.trainer.include_num_input_tokens_seen=true"])


# -- values that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_a_loss_that_is_not_finite_ends_training(stage: str, tmp_path: Path) -> None:
    run = Run(stage, 4, tmp_path, learning_rate=1e30)
    with pytest.raises(PipelineError, match=r"The (loss|gradient|evaluation loss) is (nan|inf) after step 1 of 6") as e:
        run.trained()
    assert e.value.status == 1
    assert "learning_rate" in str(e.value)


def test_a_loss_that_is_not_finite_ends_the_training_of_the_base(tmp_path: Path) -> None:
    size = {"hidden_size": 32, "intermediate_size": 48, "layers": 1, "heads": 2, "kv_heads": 2, "block_length": 8}
    config = BaseConfig(seed=0, world_seed=0, steps=6, batch_size=2, learning_rate=1e30, checkpoints=1, **size)
    words, context = tiny.tokenizer(), tiny.context(tmp_path)
    blocks = [row.prompt + row.answer for row in tiny.answers(12) if len(row.answer) == 2]
    trainer = base_trainer(untrained_model(words, config), blocks, config, context, torch.device("cpu"))
    with pytest.raises(PipelineError, match=r"The (loss|gradient) is (nan|inf) after step [1-5] of 6"):
        training.train(trainer, context, "base", 1)


def test_an_evaluation_that_is_not_finite_ends_training(tmp_path: Path) -> None:
    """Earlier it was ignored: the figure was the mean of the finite values."""
    run = Run("sft", None, tmp_path, learning_rate=1e30, epochs=0.3, trainer={"logging_steps": 1})
    with pytest.raises(PipelineError, match=r"The evaluation loss is (nan|inf) after step 1 of 1"):
        run.trained()


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path: Path) -> None:
    """A loss can be finite and its gradient not."""
    run = Run("sft", None, tmp_path)
    before = {name: p.clone() for name, p in run.weights.items()}
    run.in_training.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(PipelineError, match=r"The gradient is (nan|inf) after step 0 of 6"):
        run.trained()
    assert all(torch.equal(p, before[name]) for name, p in run.weights.items())
