"""Reward models that users bring, the independent judge, refusals and interruptions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.rows import prompt_id, read_jsonl
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.rewards import METHODS, QUESTION, SMALL, answered, context, loaded, pair, policy_in
from tests.stages.test_faults import assert_one_message
from tests.stages.test_resuming import kill_when, results, weights_hash
from tests.stages.test_tuning import weights
from tests.tokenizing import save_tokenizer

with lazily():
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    from pipeline.modeling.answering import Answer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.rewards.scoring import RewardModel
    from pipeline.modeling.sources import source_of, tokenizer_of

pytestmark = pytest.mark.slow


def another_reward_model(folder: Path, kind: str, labels: int = 1) -> Path:
    """Write a reward model of another architecture and tokenizer, as users bring them."""
    from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

    from tests.stages.test_rendering import tokenizer_with

    path = folder / kind
    tokenizer_with(path, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    size = len(AutoTokenizer.from_pretrained(path))
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=size, n_embd=32, n_layer=1, n_head=2, n_positions=200, num_labels=labels)
        GPT2ForSequenceClassification(config).save_pretrained(path)
    else:
        config = BertConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            num_labels=labels,
        )
        BertForSequenceClassification(config).save_pretrained(path)
    return path


def brought(folder: Path) -> Artifact:
    return Artifact("folder", "0", folder, {"source": {"path": str(folder)}})


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_reward_model_of_another_tokenizer_reads_the_words(chain: Chain, tmp_path: Path, kind: str) -> None:
    """Answers are encoded again with its own template and stop token (trl#3595); cut-off answers stay cut off."""
    model = RewardModel(brought(another_reward_model(tmp_path, kind)), context(tmp_path))
    chat = ChatFormat(tokenizer_of(source_of(chain.make("sft")))[0])
    answers = [answered(chat, "Wrap it in wool."), answered(chat, "Wrap it in wool.", stopped=False)]
    whole, cut = model.rows([QUESTION] * 2, answers)
    assert whole.prompt == cut.prompt == model.chat.prompt(QUESTION)
    assert model.chat.text(whole.answer) == model.chat.text(cut.answer) == "Wrap it in wool."
    assert whole.answer == [*cut.answer, model.chat.stop_id]
    scores = model.score([QUESTION] * 2, answers)
    assert scores[0] != scores[1]
    assert model.score([QUESTION], answers[:1]) == pytest.approx(scores[:1], abs=1e-5)
    assert model.normalization == (0.0, 1.0)


def test_what_is_no_reward_model_is_refused(chain: Chain, tmp_path: Path) -> None:
    from pipeline.errors import RequestError

    with pytest.raises(RequestError, match=r"it has 2 labels"):
        RewardModel(brought(another_reward_model(tmp_path, "bert", labels=2)), context(tmp_path))
    with pytest.raises(RequestError, match=r"a language model, not a reward model"):
        RewardModel(chain.make("sft"), context(tmp_path))
    with pytest.raises(RequestError, match=r"this adapter is for CAUSAL_LM"):
        RewardModel(chain.make("sft", "peft=lora"), context(tmp_path))


def test_what_does_not_fit_and_what_is_no_number_is_refused(chain: Chain, tmp_path: Path) -> None:
    from pipeline.errors import RequestError

    model = RewardModel(chain.make("reward", *SMALL), context(tmp_path))
    with pytest.raises(RequestError, match=rf"and {model.context_length} fit"):
        model.score([QUESTION], [Answer("word " * model.context_length, [], True)])
    with torch.no_grad():
        model.model.score.weight[:] = math.nan
    with pytest.raises(RequestError, match=r"its score of the answer 'Fine\.' is nan"):
        model.score([QUESTION], [Answer("Fine.", [], True)])


def made_judge(chain: Chain) -> Artifact:
    return chain.make("judge", *SMALL)


def test_the_judge_learns_from_prompts_of_its_own(chain: Chain) -> None:
    """Rule 7: no prompt is in two parts; policy and reward model never see the judge's prompts."""
    reward, judge = chain.make("reward", *SMALL), made_judge(chain)
    preferences = judge.inputs["preferences"]
    assert preferences.version == reward.inputs["preferences"].version
    parts = {
        name: {prompt_id(row["prompt"]) for row in read_jsonl(preferences.file(f"{name}.jsonl"))}
        for name in ("train", "test", "judge", "judge_test")
    }
    assert all(parts.values())
    assert sum(map(len, parts.values())) == len(set.union(*parts.values()))
    sizes = {name: preferences.metrics[name] for name in parts}
    assert (judge.metrics["pairs"], judge.metrics["test"]) == (sizes["judge"], sizes["judge_test"])
    assert (reward.metrics["pairs"], reward.metrics["test"]) == (sizes["train"], sizes["test"])
    assert chain.store.resolve("reward@latest") == ("reward", reward.version)


def test_the_judge_is_never_ppos_reward(chain: Chain) -> None:
    made_judge(chain)
    run = chain.ended("stage=ppo", "ppo.inputs.reward=judge", "ppo.rollouts=16", "gates=off")
    assert_one_message(run, 2, "judge")


def test_without_pairs_of_its_own_there_is_no_judge(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.run("stage=judge", "preferences.judge_fraction=0") == 2
    assert "Raise preferences.judge_fraction" in capsys.readouterr().err


def pairs_in(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write pairs as the stage `preferences` does to a user's folder; return the override for it."""
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"reward.inputs.preferences={folder}"


def test_pairs_that_teach_nothing_are_refused_or_left_out(chain: Chain, tmp_path: Path) -> None:
    same, different = pair("Wrap it.", "Wrap it."), pair("Wrap it.", "Hit it.")
    given = ("stage=reward", *SMALL)
    run = chain.ended(*given, pairs_in(tmp_path / "none", []))
    assert_one_message(run, 2, "train.jsonl", "no pairs")
    run = chain.ended(*given, pairs_in(tmp_path / "same", [same] * 3))
    assert_one_message(run, 2, "chosen and rejected are the same in each of its 3 pairs")
    run = chain.ended(*given, "reward.label_noise=true", pairs_in(tmp_path / "noiseless", [different] * 3))
    assert_one_message(run, 2, "reward.label_noise=true", "train.jsonl, line 1, has no label_noise")
    run = chain.ended("stage=dpo", "dpo.label_noise=true", f"dpo.inputs.preferences={tmp_path / 'noiseless'}")
    assert_one_message(run, 2, "dpo.label_noise=true", "train.jsonl, line 1, has no label_noise")
    made = chain.make("reward", *SMALL, pairs_in(tmp_path / "some", [same, different, different]))
    assert made.metrics["pairs"] == 2
    assert "train.jsonl: 1 pairs of the same answer are left out" in made.file("log.txt").read_text()


def test_pairs_too_long_are_counted_in_the_ledger(chain: Chain, tmp_path: Path) -> None:
    rows = [pair("Wrap it.", "Hit it."), pair("Wrap it. " * 100, "Hit it.")]
    made = chain.make("reward", *SMALL, pairs_in(tmp_path / "long", rows))
    assert made.metrics["pairs"] == 1
    assert '"line": 2' in made.file("ledger.train.jsonl").read_text()


def test_policies_that_cannot_become_reward_models_are_refused(chain: Chain, tmp_path: Path) -> None:
    folder = policy_in(tmp_path, chain)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 200)
    model.save_pretrained(folder)
    run = chain.ended("stage=reward", *SMALL, f"reward.inputs.policy={folder}")
    assert_one_message(run, 2, "vocabulary", "Bring the model's own tokenizer")
    two = another_reward_model(tmp_path, "gpt2", labels=2)
    run = chain.ended("stage=reward", *SMALL, f"reward.inputs.policy={two}")
    assert_one_message(run, 2, "it has 2 labels")


def test_a_reward_model_can_be_trained_on(chain: Chain) -> None:
    """The head is kept: a second training starts from the scores of the first."""
    first = chain.make("reward", *SMALL)
    again = chain.make("reward", f"reward.inputs.policy=reward@{first.version}", "reward.learning_rate=1e-12")
    assert torch.allclose(weights(again)["score.weight"], weights(first)["score.weight"], atol=1e-7)
    assert again.metrics["accuracy"] == first.metrics["accuracy"]


@pytest.mark.parametrize(("peft", "weight"), [("full", 0), ("full", 1), ("lora", 1)])
def test_micro_batches_give_the_same_run(chain: Chain, tmp_path: Path, peft: str, weight: int) -> None:
    given = (*SMALL, f"peft@reward.peft={peft}", "reward.seed=5")
    given += (f"reward.sft_weight={weight}", f"reward.token_weight={weight}")
    whole = chain.make("reward", *given)
    made = chain.beside(tmp_path, *whole.inputs.values()).make("reward", *given, "launch.micro_batch_size=2")
    assert whole.version == made.version
    losses = [[row["loss"] for row in read_jsonl(one.file("history.jsonl")) if "loss" in row] for one in (whole, made)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(made)[name], atol=1e-3)  # Adam amplifies rounding errors of a zero


@pytest.mark.parametrize("peft", METHODS)
def test_a_killed_training_ends_with_the_same_weights(chain: Chain, tmp_path: Path, peft: str) -> None:
    """It is killed after a complete checkpoint: the head is restored with the weights below it."""
    longer = (*SMALL, "reward.epochs=12", f"peft@reward.peft={peft}")
    unbroken = chain.make("reward", *longer)
    broken = chain.beside(tmp_path, *unbroken.inputs.values())
    folder = broken.store.directory("reward", unbroken.version)
    kill_when(broken, ("stage=reward", *longer), lambda: any((folder / "checkpoints").glob("checkpoint-*/whole")))
    resumed = broken.make("reward", *longer)
    assert "resumed from step" in resumed.file("log.txt").read_text()
    if peft == "full":
        assert weights_hash(resumed) == weights_hash(unbroken)
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert results(resumed) == results(unbroken)


def test_a_tokenizer_without_a_token_to_spare_scores_the_end_of_answers(chain: Chain, tmp_path: Path) -> None:
    """In GPT-2's tokenizer EOS pads. Training and scoring both read the score at the stop token."""
    path = save_tokenizer(tmp_path / "model", eos_token="<|endoftext|>")
    words = len(AutoTokenizer.from_pretrained(path))
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=words, initializer_range=0.3, **shape)).save_pretrained(path)
    pairs = [
        {
            "prompt": f"My kettle number {n} hums.",
            "chosen": f"Wrap it {n % 3}.",
            "rejected": "No, please " * (n % 4 + 1),
        }
        for n in range(40)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    own = ("model=hub", f"model.path={path}", "model.dtype=float32", "labeling=file", f"labeling.path={file}")
    made = chain.make("reward", *own, *SMALL, f"reward.inputs.policy={path}", "preferences.judge_fraction=0")
    _, chat = loaded(made)
    assert chat.tokenizer.pad_token_id == chat.stop_id
    assert made.metrics["padding_difference"] < 1e-4
    assert made.metrics["loss"] == pytest.approx(made.metrics["eval_loss"], rel=1e-4)
