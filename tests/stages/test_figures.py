"""Losses, gradients and figures as exact means, whatever the micro batch; and where DPO and PPO start."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import DpoConfig, KlConfig, PeftConfig, PpoConfig, RewardConfig, SftConfig
from pipeline.errors import PipelineError
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    from pipeline.modeling import training, tuning
    from pipeline.modeling.passes import padded
    from pipeline.modeling.rendering import Rendered
    from pipeline.modeling.reward_models import new_head
    from pipeline.modeling.reward_training import Pair, reward_trainer
    from pipeline.modeling.roles import ValueStart, build_roles
    from pipeline.modeling.scoring import Answered
    from pipeline.ppo.gathering import Task
    from pipeline.ppo.loop import Loop
    from pipeline.ppo.sources import Weighted

MICRO = (None, 4, 1)
ROWS = 19  # batches of 8: the last one has 3, which are no whole micro batch of 4
COMMON: dict[str, Any] = {
    **{"seed": 0, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.0, "evaluations": 3},
    # by plain gradient descent, unclipped: what weights move by is the sum of the gradients
    **{"keep_best": False, "trainer": {"logging_steps": 1, "optim": "sgd", "max_grad_norm": 0}},
}


def answers(count: int, seed: int = 0) -> list[Answered]:
    """Answers of one to nine tokens: means of batch means are far from means over tokens."""
    rng = random.Random(seed)
    ids = [[rng.randrange(4, 64) for _ in range(rng.choice((3, 4, 11)))] for _ in range(count)]
    return [Answered(row[:2], [*row[2:], 2]) for row in ids]


def pairs(count: int, seed: int = 0) -> list[tuple[Answered, Answered]]:
    other = answers(count, seed + 100)
    return [(a, Answered(a.prompt, b.answer)) for a, b in zip(answers(count, seed), other, strict=True)]


def whole(row: Answered) -> Rendered:
    return Rendered(row.prompt + row.answer, [0] * len(row.prompt) + [1] * len(row.answer))


class Run:
    """A training, from the same weights each time, and what it left."""

    def __init__(self, stage: str, micro: int | None, folder: Path, **changes: Any) -> None:
        context = tiny.context(folder / f"{micro}", micro_batch_size=micro)
        context.output_dir.mkdir()
        options = {**COMMON, **changes}
        if stage == "sft":
            self.trainee = tiny.trainee(tiny.model("llama"))
            rows = [[whole(row) for row in answers(*given)] for given in ((ROWS, 0), (7, 1))]
            trainer = tuning.sft_trainer(self.trainee, *rows, SftConfig(**options), context)
        elif stage == "dpo":
            self.trainee = tiny.trainee(tiny.model("llama"))
            trainer = tuning.dpo_trainer(self.trainee, pairs(ROWS), pairs(7, 1), DpoConfig(**options), context)
        else:
            self.trainee = tiny.trainee(classifier())
            rows = [rankings(*given) for given in ((ROWS, 0), (7, 1))]
            trainer = reward_trainer(self.trainee, *rows, RewardConfig(**options), context)
        self.trainer, self.context = trainer, context

    def trained(self) -> Run:
        self.history = training.train(self.trainer, self.context, "training", 3)
        return self

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.trainee.model.named_parameters()}

    def seen(self, *names: str) -> list[list[float]]:
        """The figures of every row of the history that has them."""
        return [[row[name] for name in names] for row in self.history if names[0] in row]


def classifier() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**tiny.GROUPED, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(config)
    new_head(model.score, 0)
    return model


def rankings(count: int, seed: int) -> list[Pair]:
    """Of every third prompt three answers in three pairs, of the others two."""
    found = []
    for i, (a, b) in enumerate(pairs(count, seed)):
        found.append(Pair(a, b, 0.5, i))
        if i % 3 == 0:
            c = Answered(a.prompt, [5, 6, 2])
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
    """With a last batch that does not fill a micro batch; losses of every step and all evaluations, too."""
    head = tiny.model("llama")
    monkeypatch.setattr("pipeline.modeling.reward_training.language_head", lambda *_: whole_head(head))
    stage, changes = STAGES[name]
    runs = [Run(stage, micro, tmp_path, **changes).trained() for micro in MICRO]
    columns = [("loss", "grad_norm"), ("eval_loss",), ("tokens",)]
    columns += [] if stage == "sft" else [("margin",), ("accuracy",), ("eval_accuracy", "eval_margin")]
    assert len(runs[0].seen("loss")) == 6
    for run in runs[1:]:
        for names in columns:
            rows = list(zip(run.seen(*names), runs[0].seen(*names), strict=True))
            for ours, theirs in rows[1:] if stage == "dpo" else rows:  # at first all pairs of DPO are ties
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5), names
        for key, value in runs[0].weights.items():
            assert torch.allclose(value, run.weights[key], atol=1e-5), key
    start = dict((classifier() if stage == "reward" else tiny.model("llama")).named_parameters())
    assert max(float((value - start[key]).detach().abs().max()) for key, value in runs[0].weights.items()) > 3e-3


def whole_head(model: Any) -> Any:
    from pipeline.modeling.heads import LanguageHead

    return LanguageHead(model.requires_grad_(False))


def logprob(model: Any, row: Answered) -> torch.Tensor:
    """[answer tokens], of a row alone."""
    ids = row.prompt + row.answer
    logs = model(input_ids=torch.tensor([ids])).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
    return logs.gather(1, torch.tensor(row.answer)[:, None])[:, 0]


@pytest.mark.parametrize("micro", MICRO)
def test_sfts_evaluation_loss_is_the_mean_over_answer_tokens(micro: int | None, tmp_path: Path) -> None:
    run = Run("sft", micro, tmp_path).trained()
    with torch.no_grad():
        logs = torch.cat([logprob(run.trainee.model.eval(), row) for row in answers(7, 1)])
    assert run.seen("eval_loss")[-1] == [pytest.approx(-float(logs.mean()), rel=1e-5)]


@pytest.mark.parametrize("micro", MICRO)
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_dpos_figures_are_means_over_pairs(micro: int | None, sft_weight: float, tmp_path: Path) -> None:
    """Accuracy, margin and loss of the evaluation against the policy and the reference, pair by pair."""
    run = Run("dpo", micro, tmp_path, sft_weight=sft_weight).trained()
    policy, reference = run.trainee.model.eval(), tiny.model("llama")
    with torch.no_grad():
        logs = [[[logprob(m, side) for m in (policy, reference)] for side in pair] for pair in pairs(7, 1)]
    ratios = [[float(p.sum() - r.sum()) for p, r in sides] for sides in logs]
    margins = [0.1 * (chosen - rejected) for chosen, rejected in ratios]
    loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / 7
    chosen = torch.cat([sides[0][0] for sides in logs])
    accuracy, margin, seen = run.seen("eval_accuracy", "eval_margin", "eval_loss")[-1]
    assert accuracy == pytest.approx(sum(m > 0 for m in margins) / 7)
    assert margin == pytest.approx(sum(margins) / 7, abs=1e-5)
    assert seen == pytest.approx(loss - sft_weight * float(chosen.mean()), rel=1e-4)


def test_tokens_are_counted_once_and_without_padding(tmp_path: Path) -> None:
    run = Run("dpo", 4, tmp_path).trained()
    real = sum(len(side.prompt) + len(side.answer) for pair in pairs(ROWS) for side in pair)
    assert run.seen("tokens")[-1] == [2 * real]
    assert training.cost(run.trainer)["tokens"] == 2 * real
    assert "num_input_tokens_seen" not in run.history[-1]


# -- where DPO starts ------------------------------------------------------------------------------------------------


def dpo_run(model: Any, folder: Path, **changes: Any) -> list[dict[str, float]]:
    context = tiny.context(folder, micro_batch_size=2)
    config = DpoConfig(**{**COMMON, "epochs": 0.5, **changes})
    trainer = tuning.dpo_trainer(tiny.trainee(model), pairs(8), pairs(5, 1), config, context)
    return training.train(trainer, context, "dpo", 1)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_dpos_first_loss_is_log_2(name: str, tmp_path: Path) -> None:
    """Policy and reference are the same function, whatever is done to their logits."""
    trainer = {**COMMON["trainer"], "router_aux_loss_coef": 0.0}
    history = dpo_run(tiny.model(name), tmp_path, learning_rate=1e-12, trainer=trainer)
    losses = [row[key] for row in history for key in ("loss", "eval_loss") if key in row]
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=1e-4)


def test_the_balance_of_experts_is_added_to_the_loss(tmp_path: Path) -> None:
    """As the model itself computes it, for the batch as a whole."""
    model = tiny.model("granitemoe")
    context, trainer = tiny.context(tmp_path), {**COMMON["trainer"], "router_aux_loss_coef": 0.1}
    config = DpoConfig(**{**COMMON, "epochs": 1, "trainer": trainer})
    made = tuning.dpo_trainer(tiny.trainee(model), pairs(8), pairs(5, 1), config, context)
    rows = [whole(side).ids for pair in pairs(8) for side in pair]
    ids, attention = padded(rows, 1)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=attention, output_router_logits=True).aux_loss
    first = training.train(made, context, "dpo", 1)[0]
    assert first["loss"] == pytest.approx(math.log(2) + 0.1 * float(expected), rel=1e-3)
    assert first["aux_loss"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite"])
@pytest.mark.parametrize("how", ["bfloat16 weights", "bfloat16 passes"])
def test_rounding_does_not_stop_dpo(name: str, how: str, tmp_path: Path) -> None:
    model = tiny.model(name)
    if how == "bfloat16 weights":
        assert len(dpo_run(model.to(torch.bfloat16), tmp_path)) > 1
    else:
        context = tiny.context(tmp_path, mixed_precision="bf16", micro_batch_size=2)
        trainer = tuning.dpo_trainer(tiny.trainee(model), pairs(8), pairs(5, 1), DpoConfig(**COMMON), context)
        assert len(training.train(trainer, context, "dpo", 1)) > 1


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_dpo_that_does_not_start_at_its_reference_is_stopped(loss_type: str, tmp_path: Path) -> None:
    """Dropout that is on in training: the policy is another function, and nothing is learned from it."""
    model = tiny.model("opt", dropout=0.3)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(PipelineError, match=r"DPO does not start at its reference: an answer of \d+ tokens") as error:
        dpo_run(model, tmp_path, trainer={**COMMON["trainer"], "loss_type": loss_type})
    assert "OPTForCausalLM" in str(error.value)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


# -- where PPO starts ------------------------------------------------------------------------------------------------


class Short:
    """Rewards short answers."""

    def score(self, prompts: Sequence[Any], given: Sequence[Any]) -> list[float]:
        return [-float(len(answer.ids)) for answer in given]


WITH_LORA = ("llama", "gemma2", "granite", "cohere2", "granitemoe")


@pytest.mark.parametrize(
    ("method", "name"), [*(("full", name) for name in tiny.CONFIGS), *(("lora", name) for name in WITH_LORA)]
)
def test_ppo_starts_at_its_reference(method: str, name: str, tmp_path: Path) -> None:
    """Ratio 1 and KL 0 to the last bit, sampled, scored and learned over the whole head."""
    model = tiny.model(name)
    peft = PeftConfig(method, rank=2, target_modules="all-linear")
    if method == "lora":
        model = get_peft_model(model.requires_grad_(False), LoraConfig(r=2, target_modules="all-linear")).eval()
    roles = build_roles(tiny.trainee(model), ValueStart(), peft, 0, recompute=False)
    config = PpoConfig(
        **{"seed": 0, "iterations": 2, "rollouts": 8, "batch_size": 4, "epochs": 1, "max_new_tokens": 6},
        **{"learning_rate": 1e-3, "kl": KlConfig(), "peft": peft, "checkpoint_every": 2},
    )
    config.stop.distinct = 0.0
    ids = [row.prompt for row in answers(8)]
    task = Task([[{"role": "user", "content": "w1"}]] * 8, ids, [Weighted("function", Short(), 1.0)], {})
    _, history = Loop(task, roles, config, tiny.context(tmp_path)).run()
    assert history[0]["kl"] == 0.0
    assert [row["start_difference"] for row in history] == [0.0, 0.0]
    assert history[1]["kl"] != 0.0


# -- what is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_a_loss_that_is_not_finite_ends_training(stage: str, tmp_path: Path) -> None:
    run = Run(stage, 4, tmp_path, learning_rate=1e30)
    with pytest.raises(PipelineError, match=r"The (loss|gradient|evaluation loss) is (nan|inf) after step 1 of 6") as e:
        run.trained()
    assert e.value.status == 1
    assert "learning_rate" in str(e.value)


def test_an_evaluation_that_is_not_finite_ends_training(tmp_path: Path) -> None:
    """It was passed over: the figure was the mean of what was left."""
    run = Run("sft", None, tmp_path, learning_rate=1e30, epochs=0.3, trainer={"logging_steps": 1})
    with pytest.raises(PipelineError, match=r"The evaluation loss is (nan|inf) after step 1 of 1"):
        run.trained()


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path: Path) -> None:
    """A loss can be finite where its gradient is not."""
    run = Run("sft", None, tmp_path)
    before = {name: p.clone() for name, p in run.weights.items()}
    run.trainee.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(PipelineError, match=r"The gradient is (nan|inf) after step 0 of 6"):
        run.trained()
    assert all(torch.equal(p, before[name]) for name, p in run.weights.items())
