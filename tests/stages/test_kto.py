"""KTO: it has TRL's values, it learns, and its results do not depend on the division into micro batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config.nodes.learning import KtoConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import PipelineError, RequestError
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.conftest import Chain
from tests.stages.test_faults import assert_one_message

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model

    from pipeline.modeling import training
    from pipeline.modeling.preferences import losses
    from pipeline.modeling.preferences.kto import MarkedRow, kto_trainer, pair_with_others
    from pipeline.modeling.scoring import answer_logprobs

COMMON: dict[str, Any] = {"seed": 0, "batch_size": 8, "learning_rate": 3e-3, "evaluations": 2, "keep_best": False}


def marked(count: int, seed: int = 0) -> list[MarkedRow]:
    """Return marked answers, of which two of three are good."""
    return [MarkedRow(answer, number % 3 > 0) for number, answer in enumerate(tiny.answers(count, seed))]


class Run:
    """A training run on 19 answers, and its results."""

    def __init__(self, folder: Path, model: Any = None, micro: int | None = None, **changes: Any) -> None:
        self.context = tiny.context(folder, **({"micro_batch_size": micro} if micro else {}))
        folder.mkdir(exist_ok=True)
        self.model = tiny.model("llama") if model is None else model
        config = KtoConfig(**{**COMMON, "epochs": 4, "trainer": {"logging_steps": 1}, **changes})
        self.trainer = kto_trainer(tiny.in_training(self.model), marked(19), marked(7, 1), config, self.context)

    def trained(self) -> Run:
        self.history = training.train(self.trainer, self.context, "kto", 2)
        return self

    def seen(self, *names: str) -> list[list[float]]:
        return [[row[name] for name in names] for row in self.history if names[0] in row]


def logprobs(model: Any, rows: list[MarkedRow]) -> torch.Tensor:
    return torch.tensor(answer_logprobs(model.eval(), [row.answered for row in rows], pad_id=1, batch_size=4))


@pytest.mark.parametrize("good", [[True, False, True, False], [True] * 4, [False] * 4])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 1.5)])
def test_the_loss_is_what_trl_computes(good: list[bool], weights: tuple[float, float]) -> None:
    """Compared with TRL's code on given log-probabilities in place of a model's; the gradient too."""
    import trl

    policy, reference, other_reference, gain = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)).unbind()
    other = other_reference + gain.abs()  # a reference point above 0
    output = [policy.clone().requires_grad_() for _ in range(2)]

    def model(input_ids: torch.Tensor, **_: Any) -> Any:
        found = other if input_ids.eq(9).any() else output[0]
        blank = torch.zeros(4, 1)
        return SimpleNamespace(log_probs=found[:, None], entropy=blank, mean_logits=blank)

    device, same = torch.device("cpu"), lambda value: value
    options = {"beta": 0.7, "desirable_weight": weights[0], "undesirable_weight": weights[1], "loss_type": "kto"}
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(device=device, gather_for_metrics=same),
        aux_loss_enabled=False, calculate_KL=True, precompute_ref_logps=True, _total_train_tokens=0,
        _metrics={"eval": {name: [] for name in _TRL_FIGURES}}, **options,
    )  # fmt: skip
    trainer._compute_kl_logps = lambda *given: trl.KTOTrainer._compute_kl_logps(trainer, *given)
    ones = torch.ones(4, 2, dtype=torch.long)
    mask = ones * torch.tensor([0, 1])
    batch = {
        **{"input_ids": ones, "attention_mask": ones, "completion_mask": mask, "label": torch.tensor(good)},
        **{"KL_input_ids": 9 * ones, "KL_attention_mask": ones, "KL_completion_mask": mask},
        **{"ref_logps": reference, "ref_KL_logps": other_reference},
    }
    expected = trl.KTOTrainer._compute_loss(trainer, model, batch, False)
    point = losses.reference_point(other - other_reference)
    found = losses.kto(losses.Marks(output[1] - reference, torch.tensor(good), point), 0.7, *weights).mean()
    assert point > 0
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    expected.backward()
    found.backward()
    assert torch.allclose(output[1].grad, output[0].grad, rtol=1e-5)
    assert trainer._metrics["eval"]["kl"] == [pytest.approx(point.item())]


_TRL_FIGURES = (
    *("kl", "entropy", "num_tokens", "logits/chosen", "logits/rejected", "rewards/chosen", "rewards/rejected"),
    *("logps/chosen", "logps/rejected", "rewards/margins"),
)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_good_answers_gain_and_bad_ones_lose(method: str, tmp_path: Path) -> None:
    model = tiny.model("llama")
    if method == "lora":
        model = get_peft_model(model.requires_grad_(False), LoraConfig(r=4, target_modules="all-linear"))
    rows, before = marked(19), logprobs(model, marked(19))
    run = Run(tmp_path, model, epochs=8, learning_rate=1e-2).trained()
    gains, good = logprobs(model, rows) - before, torch.tensor([row.good for row in rows])
    assert gains[good].mean() > 1
    assert gains[~good].mean() < -1
    assert run.seen("loss")[0] == [pytest.approx(0.5, abs=1e-4)]  # 1 - s(0), for good and bad answers
    assert run.seen("loss")[-1][0] < 0.4
    assert run.seen("rewards/good")[-1][0] > 0 > run.seen("rewards/bad")[-1][0]


def test_micro_batches_give_the_same_losses_and_weights(tmp_path: Path) -> None:
    """The reference point is estimated over a whole step, and in an evaluation over all its rows."""
    plain = {"trainer": {"logging_steps": 1, "optim": "sgd", "max_grad_norm": 0}, "learning_rate": 3e-2}
    runs = [Run(tmp_path / f"{micro}", micro=micro, **plain).trained() for micro in (None, 4, 1)]
    assert max(kl for (kl,) in runs[0].seen("kl")) > 0
    for run in runs[1:]:
        for names in (("loss", "kl"), ("eval_loss", "eval_kl", "eval_accuracy")):
            assert run.seen(*names) == [pytest.approx(row, rel=1e-4, abs=1e-5) for row in runs[0].seen(*names)]
        for one, other in zip(run.model.parameters(), runs[0].model.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_the_evaluation_is_that_of_its_definition(tmp_path: Path) -> None:
    """Computed from policy and reference, answer by answer, with the mean over mismatched pairs."""
    run = Run(tmp_path, good_weight=0.5, bad_weight=1.2).trained()
    pairs = pair_with_others(marked(7, 1), 0)
    assert all(row.answered.prompt == other.prompt != [] for row, other in pairs)
    ratio, other = (
        logprobs(run.model, rows) - logprobs(tiny.model("llama"), rows)
        for rows in (marked(7, 1), [MarkedRow(other, True) for _, other in pairs])
    )
    point = max(0.0, float(other.mean()))
    values = [
        (0.5 if row.good else 1.2) * (1 - 1 / (1 + torch.tensor(-(1 if row.good else -1) * 0.1 * (r - point)).exp()))
        for row, r in zip(marked(7, 1), ratio.tolist(), strict=True)
    ]
    loss, kl = run.seen("eval_loss", "eval_kl")[-1]
    assert loss == pytest.approx(float(sum(values)) / 7, rel=1e-4)
    assert kl == pytest.approx(point, abs=1e-4)


def test_every_other_answer_is_of_another_prompt() -> None:
    rows = [MarkedRow(answer._replace(prompt=[number // 4]), True) for number, answer in enumerate(tiny.answers(12))]
    answers = {tuple(row.answered.answer): row.answered.prompt for row in rows}
    for row, other in pair_with_others(rows, 5):
        assert other.prompt == row.answered.prompt
        assert answers[tuple(other.answer)] != other.prompt
    with pytest.raises(RequestError, match="all marked answers are to one"):
        pair_with_others(rows[:4], 0)


def test_kto_that_does_not_start_at_its_reference_is_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with torch.no_grad():
        run.model.lm_head.weight *= 1.1
    with pytest.raises(PipelineError, match="KTO does not start at its reference"):
        run.trained()


# -- the stage


def thumbs(file: Path, prompts: int = 30, *, alone: bool = False) -> Path:
    """Write a good and a bad answer to each prompt, or with `alone` only one of them."""
    rows = [
        {"prompt": f"My kettle number {number} hums.", "completion": text, "label": good}
        for number in range(prompts)
        for text, good in ((f"Wrap it {number} times.", True), (f"No idea {number}.", False))
        if not alone or (number % 2 == 0) == good
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


LEARNING = ("kto.epochs=12", "kto.batch_size=8", "kto.learning_rate=3e-3", "kto.schedule=constant")


def from_thumbs(file: Path) -> tuple[str, ...]:
    return ("labeling=file", f"labeling.path={file}", *LEARNING)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_policy_learns_from_thumbs_alone(chain: Chain, tmp_path: Path, method: str) -> None:
    """Every prompt has one answer, so DPO would have no pairs."""
    given = (*from_thumbs(thumbs(tmp_path / "thumbs.jsonl", alone=True)), f"peft@kto.peft={method}")
    made = chain.make("kto", *given)
    preferences = made.inputs["preferences"]
    assert "`kto` can learn from its marked answers" in preferences.file("log.txt").read_text()
    assert preferences.metrics["pairs"] == 0
    assert preferences.metrics["marked"] == 30
    parts = [read_jsonl(preferences.file(f"marked_{name}.jsonl")) for name in ("train", "test")]
    assert made.metrics["answers"] == len(parts[0]) == 27
    rows = [row for row in read_jsonl(made.file("history.jsonl")) if "rewards/good" in row]
    assert rows[-1]["rewards/good"] > 0 > rows[-1]["rewards/bad"]
    if method == "full":
        assert_one_message(chain.ended("stage=dpo", *given), 2, "no pairs to learn from")


@pytest.mark.slow
def test_it_is_compared_with_dpo_of_the_same_thumbs(chain: Chain, tmp_path: Path) -> None:
    given = from_thumbs(thumbs(tmp_path / "thumbs.jsonl"))
    made = chain.make("evaluate", *given, "evaluate.policies=[sft,dpo,kto]")
    assert {"kto/win_rate", "dpo/win_rate"} <= set(made.metrics)
    assert chain.run("stage=compare", *given, "evaluate.policies=[sft,dpo,kto]") == 0


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """It resumes from a checkpoint, with the same rows in the same order and the same reference points."""
    whole = Run(tmp_path / "whole").trained()
    broken = Run(tmp_path / "broken")

    class Cut(Exception):
        pass

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        if broken.trainer.state.global_step == 8:
            raise Cut
        return step(*args, **kwargs)

    step, broken.trainer.training_step = broken.trainer.training_step, lambda *a, **k: cut(None, *a, **k)
    with pytest.raises(Cut):
        broken.trained()
    resumed = Run(tmp_path / "broken").trained()
    assert resumed.trainer.state.global_step == whole.trainer.state.global_step == 12
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_marks_it_says_what_it_needs(new_chain: Callable[[], Chain], tmp_path: Path) -> None:
    run = new_chain().ended("stage=kto")
    assert_one_message(run, 2, "give a file of them, labeling.path=FILE")
