"""PPO without a value model: its advantages beside TRL's, and the tiny chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.rows import read_jsonl
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.conftest import Chain
from tests.stages.test_distributed import assert_equal_results, copy_of, launched
from tests.stages.test_ppo import SMALL, history
from tests.stages.test_tuning import full_weights_below, weights

with lazily():
    import datasets
    import torch
    import trl
    from torch import Tensor

    from pipeline.ppo.groups import group_normalized, leave_one_out
    from pipeline.ppo.kl import k1
    from pipeline.ppo.losses import policy_loss
    from pipeline.ppo.rewards import token_rewards

pytestmark = pytest.mark.slow


class Seen:
    """What a trainer of TRL computed: by step its scores, log-probabilities and batch; by pass its loss."""

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.logprobs: list[Tensor] = []  # of every pass, [rows, tokens]
        self.batches: list[dict[str, Any]] = []
        self.kl: list[tuple[Tensor, Tensor]] = []
        self.losses: list[tuple[Tensor, Tensor, dict[str, Any]]] = []  # log-probabilities, loss, batch


def trained(method: str, folder: Path, **options: Any) -> Seen:
    """Train a tiny model with one of TRL's trainers, and return what it computed on the way."""
    seen = Seen()

    class Watched(getattr(trl, f"{method}Trainer")):  # type: ignore[misc]
        def _calculate_rewards(self, *given: Any) -> Any:
            found = super()._calculate_rewards(*given)
            seen.scores.append(found[:, 0].clone())
            return found

        def _get_per_token_logps_and_entropies(self, *given: Any, **named: Any) -> Any:
            found = super()._get_per_token_logps_and_entropies(*given, **named)
            seen.logprobs.append(found[0].detach())
            return found

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            before = len(seen.logprobs)
            batch = super()._generate_and_score_completions(inputs)
            if len(seen.logprobs) == before + 2:  # of the policy, then of the reference
                seen.kl.append((seen.logprobs[-2], seen.logprobs[-1]))
            seen.batches.append({name: value.clone() for name, value in batch.items() if torch.is_tensor(value)})
            return batch

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            loss = super()._compute_loss(model, inputs)
            seen.losses.append((seen.logprobs[-1], loss.detach(), inputs))
            return loss

    def by_length(completions: list[str], **_: Any) -> list[float]:
        return [len(text) / 7 + text.count("w1") for text in completions]

    rows = datasets.Dataset.from_list([{"prompt": f"w{i} w{i + 1} w3"} for i in range(8)])
    arguments = getattr(trl, f"{method}Config")(
        output_dir=str(folder), per_device_train_batch_size=8, num_generations=4, max_completion_length=6, seed=1,
        max_steps=4, num_iterations=2, learning_rate=0.02, report_to=[], use_cpu=True, save_strategy="no",
        logging_strategy="no", disable_tqdm=True, **options,
    )  # fmt: skip
    tiny.model("llama").save_pretrained(folder / "model")  # the reference is read from a folder
    made = Watched(
        model=str(folder / "model"),
        reward_funcs=by_length,
        args=arguments,
        train_dataset=rows,
        processing_class=tiny.tokenizer(),
    )
    made.train()
    return seen


def test_rloo_is_that_of_trl(tmp_path: Path) -> None:
    """Rule 24: the same advantages from the same scores and log-probabilities, the KL penalty included."""
    seen = trained("RLOO", tmp_path, beta=0.3)
    assert len(seen.batches) == len(seen.kl) == 2
    for scores, batch, (policy, reference) in zip(seen.scores, seen.batches, seen.kl, strict=True):
        mask = batch["completion_mask"].bool()
        rewards = token_rewards(scores, k1(policy, reference), mask, 0.3)
        assert torch.allclose(leave_one_out(rewards.sum(1), 4), batch["advantages"], atol=1e-5)
    assert (seen.kl[1][0] - seen.kl[1][1]).abs().max() > 0.01, "the second step has a KL divergence to penalize"
    assert seen.batches[1]["advantages"].abs().max() > 0.1


def test_grpo_is_that_of_trl(tmp_path: Path) -> None:
    """Rule 24: the same advantages, and the same clipped loss as its `dapo`, a mean over tokens, also after a step."""
    seen = trained("GRPO", tmp_path, beta=0.0, loss_type="dapo", scale_rewards="group")
    for scores, batch in zip(seen.scores, seen.batches, strict=True):
        assert torch.allclose(group_normalized(scores, 4), batch["advantages"], atol=1e-5)
        assert batch["advantages"].abs().max() > 0.1
    ratios = []
    for logprobs, loss, batch in seen.losses:
        mask = batch["completion_mask"].bool()
        before, advantages = batch["old_per_token_logps"], batch["advantages"][:, None] * mask
        own = policy_loss(logprobs[mask], before[mask], advantages[mask], 0.2)
        assert float(own.loss / mask.sum()) == pytest.approx(float(loss), abs=1e-5)
        ratios.append(float(own.clipped))
    assert max(ratios) > 0, "some ratios are clipped"


# -- the stage ---------------------------------------------------------------------------------------------------------

GROUPS = {name: (f"ppo.advantage={name}", "ppo.group=4") for name in ("rloo", "grpo")}


@pytest.mark.parametrize("peft", ["full", "lora"])
@pytest.mark.parametrize("name", GROUPS)
def test_it_starts_at_the_reference_and_has_no_value_model(chain: Chain, vowels: str, name: str, peft: str) -> None:
    """Ratio 1 and KL 0 before the first step (rules 10 and 24); no value model is trained, logged or saved."""
    made = chain.make("ppo", *SMALL, vowels, *GROUPS[name], f"peft@ppo.peft={peft}")
    rows = history(made)
    assert [row["kl"] == 0 for row in rows] == [True, False, False]
    assert [row["start_difference"] for row in rows] == [0.0] * 3
    assert not [key for row in rows for key in row if "value" in key or "explained" in key]
    assert not [file for file in made.manifest["files"] if "value" in file]
    after = weights(made)
    if peft == "full":
        before = full_weights_below(made.inputs["policy"])
        assert all(not torch.equal(after[name], before[name]) for name in after)
    else:
        assert all(values.abs().max() > 0 for key, values in after.items() if ".lora_B." in key)
    trained = {tensor.data_ptr(): tensor.numel() for tensor in after.values()}
    assert made.metrics["trainable"] == sum(trained.values())


@pytest.mark.parametrize("peft", ["full", "lora"])
def test_with_a_reward_model_none_is_built_from_it(chain: Chain, monkeypatch: pytest.MonkeyPatch, peft: str) -> None:
    from pipeline.modeling import roles as module

    built, build = [], module.build_roles

    def watched(*given: Any, **named: Any) -> Any:
        built.append(build(*given, **named))
        return built[0]

    monkeypatch.setattr(module, "build_roles", watched)
    made = chain.make("ppo", *SMALL, *GROUPS["rloo"], f"peft@reward.peft={peft}", f"peft@ppo.peft={peft}")
    (roles,) = built
    assert roles.value is None
    assert set(roles.parameters) == {"policy"}
    names = [name for name, _ in roles.policy.decoder.named_parameters()]
    assert not [name for name in names if ".value." in name]
    assert bool([name for name in names if ".reward." in name]) == (peft == "lora")
    assert "value model" not in made.file("log.txt").read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_it_learns_as_ppo_does(chain: Chain, vowels: str, name: str) -> None:
    """Rule 24: the worst of the last iterations is better than the best of the first."""
    learning = (*SMALL, vowels, *GROUPS[name], "ppo.iterations=40", "ppo.kl.coefficient=0.001")
    rows = history(chain.make("ppo", *learning, "ppo.learning_rate=3e-3"))
    first, last = ([row["reward"] for row in part] for part in (rows[:8], rows[-8:]))
    assert min(last) > 1.5 * max(first)


def test_a_prompts_answers_stand_together_and_differ(chain: Chain, vowels: str) -> None:
    """Every iteration has whole groups, and the prompts go on where the last iteration ended."""
    made = chain.make("ppo", *SMALL, vowels, *GROUPS["rloo"], "ppo.samples=16", "ppo.sample_every=1")
    rows = read_jsonl(made.file("samples.jsonl"))
    asked = [row["prompt"][-1]["content"] for row in rows]
    groups = [asked[i : i + 4] for i in range(0, len(asked), 4)]
    assert len(rows) == 48
    assert all(len(set(group)) == 1 for group in groups)
    assert len({group[0] for group in groups[:8]}) == 8, "no prompt twice before all were used"
    answers = [{row["answer"] for row in rows[i : i + 4]} for i in range(0, len(rows), 4)]
    assert all(len(group) > 1 for group in answers)


def test_a_sure_policy_is_not_taken_for_a_collapsed_one(chain: Chain, vowels: str) -> None:
    """Nearly greedy, all answers to a prompt are equal; answers to different prompts still differ."""
    cold = ("ppo.temperature=0.01", "ppo.iterations=1", "ppo.samples=16", "ppo.learning_rate=1e-6")
    made = chain.make("ppo", *SMALL, vowels, *GROUPS["rloo"], *cold)
    answers = [row["answer"] for row in read_jsonl(made.file("samples.jsonl"))]
    assert history(made)[0]["distinct"] == len(set(answers[::4])) / 4 > len(set(answers)) / 16


def test_two_processes_and_micro_batches_give_the_same_run(chain: Chain, tmp_path: Path) -> None:
    """Groups are whole in every process, since each has all answers and scores of an iteration."""
    request = (*GROUPS["grpo"], "gates=off", "ppo.kl.target=2", "stage=ppo")
    one = chain.make("ppo", *request)
    other = copy_of(chain, tmp_path, "ppo")
    assert launched(tmp_path, other.arguments(*request, "launch.micro_batch_size=2")) == [0, 0]
    assert_equal_results(one, other.store.open(*other.store.resolve("ppo")))
