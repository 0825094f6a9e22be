"""Policy, reference, value and reward model: the copies of the base model, and the starting weights of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline.__main__ import main
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.data.rows import read_jsonl
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from pipeline.store.lineage import stage_of
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.test_faults import assert_one_message
from tests.stages.test_ppo import SMALL, history

with lazily():
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

    from pipeline.modeling.answering import Answer
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.passes import batch_of, last_states
    from pipeline.modeling.rewards.roles import RewardAdapter, Rewards, load_rewards
    from pipeline.modeling.rewards.scoring import RewardModel
    from pipeline.modeling.roles import Roles, build_roles

pytestmark = pytest.mark.slow

PROMPT = [{"role": "user", "content": "My kettle hums at night. What should I do?"}]
TEXTS = ("Just wrap the kettle in wet wool.", "Go away!", "Turn it upside down. I hope it helps!")


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext({}, tmp_path, Runtime(LaunchConfig(device="cpu"), 1), progress, lambda _: None, lambda *_: None)


def assembled(chain: Chain, context: StageContext, sft: str, peft: str, **options: Any) -> tuple[Roles, Rewards]:
    """Build all four roles as the stage does."""
    made = chain.make("reward", f"peft@sft.peft={sft}", f"peft@reward.peft={peft}")
    own = PeftConfig(peft, **options)
    in_training = prepare_model(made.inputs["policy"], own, 0, context)
    rewards = load_rewards({"reward": made}, in_training, own, context)
    return build_roles(in_training, rewards.start, own, 0, recompute=True), rewards


def answers_of(roles: Roles) -> list[Answer]:
    chat = roles.in_training.chat
    return [Answer(text, chat.answer(PROMPT, text), True) for text in TEXTS]


def tensors(roles: Roles, rewards: Rewards) -> Iterator[torch.Tensor]:
    """Yield every tensor in memory of the roles, each once."""
    scorer = rewards.scorers["reward"]
    held = (roles.policy, roles.reference, roles.value)
    modules = [module for role in held for module in (role.decoder, getattr(role.head, "causal", role.head))]
    seen = set()
    for module in [*modules, scorer.model]:
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                yield tensor


@pytest.mark.parametrize(
    ("sft", "peft", "copies"), [("full", "full", 4), ("full", "lora", 1), ("lora", "lora", 1), ("qlora", "qlora", 1)]
)
def test_with_adapters_one_copy_of_the_base_is_in_memory(
    chain: Chain, context: StageContext, sft: str, peft: str, copies: int
) -> None:
    """Four separate copies ran out of memory (trl#1833, trl#2833, trl#2719)."""
    roles, rewards = assembled(chain, context, sft, peft)
    found = list(tensors(roles, rewards))
    embedding = roles.policy.decoder.get_input_embeddings().weight
    assert sum(tensor.shape == embedding.shape for tensor in found) == copies
    largest = max(t.numel() * t.element_size() for t in found)
    layers = [t for t in found if t.numel() * t.element_size() > largest / 20 and min(t.shape, default=0) > 16]
    base = [p for n, p in roles.policy.decoder.named_parameters() if "lora_" not in n]
    assert sum(t.numel() for t in layers) <= copies * sum(p.numel() for p in base)


@pytest.mark.parametrize(("sft", "peft"), [("full", "full"), ("full", "lora"), ("lora", "lora"), ("qlora", "qlora")])
def test_the_value_model_starts_as_the_reward_model(chain: Chain, context: StageContext, sft: str, peft: str) -> None:
    """Rule 8 (S, T): at an answer's last token its value equals the reward model's normalized score."""
    roles, rewards = assembled(chain, context, sft, peft)
    assert isinstance(rewards.scorers["reward"], RewardModel if peft == "full" else RewardAdapter)
    answers = answers_of(roles)
    said = rewards.scorers["reward"].score([PROMPT] * 3, answers)
    chat = roles.in_training.chat
    batch = batch_of(
        [chat.prompt(PROMPT)] * 3, [a.ids for a in answers], chat.tokenizer.pad_token_id, torch.device("cpu")
    )
    roles.value.switch()
    found = roles.value.head(last_states(roles.value.decoder, batch).float())[:, 0]
    assert found.tolist() == pytest.approx(said, abs=1e-4)
    assert len({round(score, 3) for score in said}) == 3


@pytest.mark.parametrize(("sft", "peft"), [("full", "lora"), ("lora", "lora"), ("qlora", "qlora")])
def test_a_reward_adapter_on_the_shared_base_scores_as_it_does_alone(
    chain: Chain, context: StageContext, sft: str, peft: str
) -> None:
    roles, rewards = assembled(chain, context, sft, peft)
    answers = answers_of(roles)
    alone = RewardModel(chain.make("reward", f"peft@sft.peft={sft}", f"peft@reward.peft={peft}"), context)
    together = rewards.scorers["reward"].score([PROMPT] * 3, answers)
    assert together == pytest.approx(alone.score([PROMPT] * 3, answers), abs=1e-4)


@pytest.mark.parametrize("peft", ["full", "lora"])
def test_dropout_is_off_in_every_role(chain: Chain, context: StageContext, peft: str) -> None:
    """Rule 9 (S): two passes agree, also with recomputed activations and with dropout in the adapters' settings."""
    roles, _ = assembled(chain, context, "full", peft, dropout=0.0 if peft == "full" else 0.5)
    chat = roles.in_training.chat
    batch = batch_of(
        [chat.prompt(PROMPT)] * 3, [a.ids for a in answers_of(roles)], chat.tokenizer.pad_token_id, torch.device("cpu")
    )
    with roles.recomputing(True):
        for role in (roles.policy, roles.reference):
            passes = [roles.logprobs(role, batch, 1.0).logprobs for _ in range(2)]
            assert torch.equal(*passes)
        assert torch.equal(roles.values(batch), roles.values(batch))


@pytest.mark.parametrize(
    ("sft", "reward", "ppo"),
    [("full", "full", "full"), ("lora", "lora", "lora"), ("qlora", "qlora", "qlora"), ("full", "full", "lora")],
)
def test_the_whole_arm_runs_with_every_method(chain: Chain, sft: str, reward: str, ppo: str) -> None:
    """Reward and PPO with full training, LoRA and QLoRA; the first step starts exactly at the SFT policy."""
    pefts = (f"peft@sft.peft={sft}", f"peft@reward.peft={reward}", f"peft@ppo.peft={ppo}")
    made = chain.make("ppo", *SMALL, *pefts, "gates=warn", "ppo.watch_judge=true")
    rows = history(made)
    assert rows[0]["kl"] == 0.0
    assert [row["start_difference"] for row in rows] == [0.0] * 3
    assert made.inputs["reward"].stage == "reward"
    assert "judge_reward" in rows[0]
    assert rows[0]["value"] != 0 or reward != ppo
    assert made.metrics["seconds_per_iteration"] > 0


# -- reward models that people bring ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A GPT-2 classifier with another tokenizer and template."""

    def build(labels: int) -> Path:
        folder = tmp_path_factory.mktemp("foreign")
        words = Tokenizer(models.BPE(unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<none>", "<end>"], show_progress=False)
        words.train_from_iterator([*TEXTS, "question answer kettle lantern"] * 4, trainer)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="<unk>", pad_token="<none>", eos_token="<end>"
        )
        tokenizer.chat_template = (
            "{% for m in messages %}{{ 'question ' if m['role'] == 'user' else 'answer ' }}{{ m['content'] }}"
            "{% if m['role'] == 'assistant' %}<end>{% endif %} {% endfor %}"
            "{% if add_generation_prompt %}answer {% endif %}"
        )
        torch.manual_seed(3)
        size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 256, "num_labels": labels}
        model = GPT2ForSequenceClassification(GPT2Config(vocab_size=len(tokenizer), pad_token_id=1, **size))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


def test_a_reward_model_of_another_architecture_and_tokenizer(
    chain: Chain, context: StageContext, foreign: Callable[[int], Path]
) -> None:
    """It scores answers that are decoded and rendered again with its own template (trl#3595)."""
    folder = foreign(1)
    made = chain.make("ppo", *SMALL, f"ppo.rewards=[{{source:{folder}}}]")
    assert history(made)[0]["start_difference"] == 0.0
    assert "no reward model can be its start" in made.file("log.txt").read_text()
    model = RewardModel(Artifact("folder", "own", folder, {"source": {"path": str(folder)}}), context)
    for row in read_jsonl(made.file("samples.jsonl")):
        text = f"question {row['prompt'][-1]['content']} answer {row['answer']}" + "<end>" * row["stopped"]
        ids = torch.tensor([model.chat.tokenizer(text)["input_ids"]])
        expected = float(model.model(input_ids=ids).logits[0, 0])
        assert row["reward"] == pytest.approx(expected, abs=1e-4)


def test_a_reward_model_with_several_labels_is_refused(chain: Chain, foreign: Callable[[int], Path]) -> None:
    run = chain.ended("stage=ppo", *SMALL, f"ppo.rewards=[{{source:{foreign(3)}}}]")
    assert_one_message(run, 2, "3 labels", "num_labels=1")


def test_a_judge_that_the_stage_reward_made_before_never_rewards(chain: Chain, tmp_path: Path) -> None:
    """Earlier judges are reward models with `as_judge` in their manifest."""
    judge = chain.make("judge")
    earlier = Store(tmp_path, "earlier")
    with earlier.writing("reward", "a1b2") as folder:
        shutil.copytree(judge.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
    manifest = {**judge.manifest, "stage": "reward", "config": {**judge.manifest["config"], "as_judge": True}}
    del manifest["version"], manifest["created"], manifest["checksum"]
    made = earlier.commit("reward", "a1b2", manifest)
    assert stage_of(made) == "judge"
    run = chain.ended("stage=ppo", *SMALL, f"ppo.rewards=[{{source:{made.path}}}]")
    assert_one_message(run, 2, "judge", "reward")


def test_a_language_model_is_no_reward_model(chain: Chain) -> None:
    sft = chain.make("sft")
    run = chain.ended("stage=ppo", *SMALL, f"ppo.inputs.reward=sft@{sft.version}")
    assert_one_message(run, 2, "not a reward model")


def test_several_rewards_with_weights(chain: Chain, tmp_path: Path) -> None:
    """The sum of the chain's reward model and a user's function; each is logged by its role."""
    (tmp_path / "short.py").write_text("def short(prompts, answers):\n    return [-len(a) / 100 for a in answers]\n")
    made = chain.make("ppo", *SMALL, f"ppo.rewards=[{{source:reward}},{{source:{tmp_path}/short.py:short,weight:0.5}}]")
    for row in history(made):
        assert row["reward"] == pytest.approx(row["reward_reward"] + 0.5 * row["reward_function"], abs=1e-5)


def test_one_command_makes_the_members_of_an_ensemble(chain: Chain) -> None:
    """A sweep over seeds, with a tag for each; their mean is the reward, and each one is logged."""
    members = main(["-m", *chain.arguments("stage=reward", "reward.seed=0,1", "tag=m${reward.seed}", "gates=off")])
    assert members == 0
    assert chain.store.resolve("reward@m0") != chain.store.resolve("reward@m1")
    made = chain.make("ppo", *SMALL, "ppo.rewards=[{source: reward@m0}, {source: reward@m1}]", "ppo.combine=mean")
    for row in history(made):
        assert row["reward"] == pytest.approx((row["reward_reward"] + row["reward_reward2"]) / 2, abs=1e-5)
        assert row["reward_reward"] != row["reward_reward2"]


def test_the_worst_of_an_ensemble_is_the_reward(chain: Chain, tmp_path: Path) -> None:
    """Two sources want opposite things: the mean of the worse one is at most that of either. One alone is refused."""
    (tmp_path / "own.py").write_text(
        "def short(prompts, answers):\n    return [-len(a) / 100 for a in answers]\n"
        "def long(prompts, answers):\n    return [len(a) / 100 - 1 for a in answers]\n"
    )
    both = f"ppo.rewards=[{{source:{tmp_path}/own.py:short}},{{source:{tmp_path}/own.py:long}}]"
    made = chain.make("ppo", *SMALL, both, "ppo.combine=worst")
    for row in history(made):
        assert row["reward"] <= min(row["reward_function"], row["reward_function2"]) + 1e-6
        assert row["reward_function"] + row["reward_function2"] == pytest.approx(-1, abs=1e-5)
    assert_one_message(chain.ended("stage=ppo", "ppo.combine=worst"), 2, "ppo.combine=worst", "reward@B")
