"""Reward models on the tiny chain: trained and frozen weights, losses, the head."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from pathlib import Path

import pytest

from pipeline.data.rows import read_jsonl
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.rewards import HEAD, METHODS, PLAIN, QUESTION, SMALL, loaded, policy_in, rows_of, scored
from tests.stages.test_tuning import NF4_BITS, full_weights_below, weights

with lazily():
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
    )

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.rewards.models import initialize_head
    from pipeline.modeling.rewards.training import Pair, bradley_terry, collate_rows, rankings
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.sources import source_of, tokenizer_of

pytestmark = pytest.mark.slow


def test_a_new_head_is_drawn_with_the_published_spread() -> None:
    """Rule 5: std 1/sqrt(hidden + 1), bias 0 (arXiv 1909.08593), equal for equal seeds."""
    head, same, other = (torch.nn.Linear(40000, 1) for _ in range(3))
    for one, seed in ((head, 1), (same, 1), (other, 2)):
        initialize_head(one, seed)
    assert float(head.weight.detach().std()) == pytest.approx(1 / math.sqrt(40001), rel=0.02)
    assert float(head.bias) == 0
    assert torch.equal(head.weight, same.weight)
    assert not torch.equal(head.weight, other.weight)


@pytest.mark.parametrize(
    ("sft", "reward"), [*product(["full"], METHODS), *product(["lora"], METHODS), ("qlora", "lora")]
)
def test_exactly_what_should_change_does(chain: Chain, sft: str, reward: str) -> None:
    """Every trained parameter has changed, also the head, and the artifact has only these."""
    made = chain.make("reward", *SMALL, f"peft@sft.peft={sft}", f"peft@reward.peft={reward}", "reward.peft.rank=2")
    after, policy = weights(made), made.inputs["policy"]
    if reward == "full":
        before = full_weights_below(policy)
        assert set(after) == {*before, "score.weight"}
        assert all(not torch.equal(after[name], value) for name, value in before.items())
    else:
        assert all(".lora_A." in name or ".lora_B." in name or name == HEAD for name in after)
        assert HEAD in after
        assert all(value.abs().max() > 0 for name, value in after.items() if ".lora_B." in name)  # B starts at zero
        assert all(min(value.shape) == 2 for name, value in after.items() if ".lora_" in name)
    head = torch.nn.Linear(64, 1, bias=False)
    initialize_head(head, 0)
    trained = after["score.weight" if reward == "full" else HEAD]
    assert trained.dtype == torch.float32
    assert not torch.equal(trained, head.weight)
    assert torch.allclose(trained, head.weight, atol=0.2)
    assert made.metrics["trainable"] == sum(value.numel() for value in after.values())
    expected = NF4_BITS if reward == "qlora" or (reward == "lora" and sft == "qlora") else 32
    assert made.metrics["bits_per_base_weight"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("sft", "reward"), [("full", "full"), ("lora", "full"), ("lora", "lora"), ("qlora", "qlora")])
def test_before_the_first_update_it_is_the_sft_policy_with_a_new_head(chain: Chain, sft: str, reward: str) -> None:
    """Also with adapters below: without training, scores are the new head's on the policy's hidden states."""
    from pipeline.modeling.policy import load_policy

    made = chain.make("reward", f"peft@sft.peft={sft}", f"peft@reward.peft={reward}", "reward.learning_rate=1e-12")
    model, chat = loaded(made)
    rows, _ = rows_of(made, chat)
    policy = load_policy(source_of(made.inputs["policy"]), chat.tokenizer, torch.device("cpu"))
    head = torch.nn.Linear(64, 1, bias=False)
    initialize_head(head, 0)
    for row in rows[:4]:
        bare = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        with torch.no_grad():
            states = bare.get_decoder()(torch.tensor([row.prompt + row.answer])).last_hidden_state
            expected = float(head(states[0, -1].float()))
        assert scored(model, chat, [row])[0] == pytest.approx(expected, abs=1e-2 if reward == "qlora" else 1e-5)


@pytest.mark.parametrize(
    ("peft", "margin", "noise"),
    [
        ("full", False, False),
        ("full", True, False),
        ("full", False, True),
        ("lora", False, False),
        ("lora", True, True),
    ],
)
def test_the_loss_is_bradley_terrys(chain: Chain, peft: str, margin: bool, noise: bool) -> None:
    """Rule 5: -log sigmoid(chosen - rejected [- margin]), computed again from the scores of the artifact's weights.

    Rankings have equal weight in training (arXiv 2203.02155), pairs have equal weight in the metrics.
    """
    more = ("data.world.preference_prompts=60", "labeling.overlap=3", f"reward.margin={margin}")
    more += (f"reward.label_noise={noise}",)
    made = chain.make("reward", *SMALL, f"peft@reward.peft={peft}", *more)
    model, chat = loaded(made)
    chosen, rejected = (scored(model, chat, rows) for rows in rows_of(made, chat))
    rows = read_jsonl(made.inputs["preferences"].file("test.jsonl"))
    assert len({row["margin"] for row in rows}) > 1
    assert len({row["label_noise"] for row in rows}) > 1
    assert len({row["group"] for row in rows}) == 6  # one batch
    by_ranking: dict[str, list[float]] = defaultdict(list)
    for c, r, row in zip(chosen, rejected, rows, strict=True):
        gap, e = (row["margin"] if margin else 0), (row["label_noise"] if noise else 0)
        loss = (1 - e) * math.log1p(math.exp(r - c + gap)) + e * math.log1p(math.exp(c - r + gap))
        by_ranking[row["group"]].append(loss)
    means = [sum(losses) / len(losses) for losses in by_ranking.values()]
    assert made.metrics["eval_loss"] == pytest.approx(sum(means) / len(means), rel=1e-4)
    plain = [math.log1p(math.exp(r - c)) for c, r in zip(chosen, rejected, strict=True)]
    assert made.metrics["loss"] == pytest.approx(sum(plain) / len(plain), rel=1e-4)
    right = sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(chosen)
    assert made.metrics["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(("sft", "reward"), [("full", "full"), ("lora", "lora"), ("qlora", "qlora")])
def test_the_sft_loss_beside_it_is_the_policys_own(chain: Chain, tmp_path: Path, sft: str, reward: str) -> None:
    """arXiv 2406.10216: at the first step it is the SFT policy's own loss on the answers' tokens."""
    from pipeline.config.nodes.models import PeftConfig
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.rewards.models import language_head, load_reward_for_training
    from pipeline.modeling.rewards.training import RewardTrainer
    from pipeline.modeling.scoring import answer_logprobs

    made = chain.make("sft", f"peft@sft.peft={sft}")
    source = source_of(made)
    tokenizer, _ = tokenizer_of(source)
    chat, cpu = ChatFormat(tokenizer), torch.device("cpu")
    texts = ("Wrap it in wool.", "Hit it.", "Ask the neighbours about it, please.")
    a, b, c = (AnsweredPrompt(chat.prompt(QUESTION), chat.answer(QUESTION, text)) for text in texts)
    batch = collate_rows(
        [*rankings([Pair(a, b, 1.0, "r"), Pair(b, c, 1.0, "r")])], tokenizer.pad_token_id, margin=False
    )
    policy = load_policy(source, tokenizer, cpu)
    sums = answer_logprobs(policy, [a, b, c], pad_id=tokenizer.pad_token_id, batch_size=3)
    expected = -sum(sums) / sum(len(row.answer) for row in (a, b, c))
    model = load_reward_for_training(source, tokenizer, cpu, PeftConfig(method=reward), 0)
    states = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
    ).hidden_states[-1]
    trainer = RewardTrainer.__new__(RewardTrainer)
    trainer.language = language_head(source, tokenizer, cpu)
    found = trainer._sft_loss(states, batch["input_ids"], batch["token_shares"])
    assert float(found.detach()) == pytest.approx(expected, rel=1e-2 if reward == "qlora" else 1e-5)


def test_the_sft_loss_keeps_what_the_policy_knows(chain: Chain) -> None:
    """With it, the trained transformer predicts the ranked answers better; the artifact has no language-model head."""
    from pipeline.modeling.rewards.models import decoder_of, language_head
    from pipeline.modeling.sources import PolicySource

    losses = []
    for weight in (0, 2):
        made = chain.make("reward", *SMALL, "reward.epochs=6", "reward.keep_best=false", f"reward.sft_weight={weight}")
        model, chat = loaded(made)
        assert "lm_head.weight" not in weights(made)
        below = source_of(made.inputs["policy"])
        head = language_head(PolicySource(below.weights, below.tokenizer), chat.tokenizer, torch.device("cpu"))
        total = 0.0
        for row in rows_of(made, chat, "train.jsonl")[0]:
            ids = torch.tensor([row.prompt + row.answer])
            with torch.no_grad():
                logits = head(decoder_of(model)(ids).last_hidden_state)[0, len(row.prompt) - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer)))
        losses.append(total)
    assert losses[1] < losses[0]


def test_each_answer_of_a_ranking_is_read_once() -> None:
    """Three answers in three pairs are three rows of a batch, separate from those of another prompt."""
    a, b, c = (AnsweredPrompt([1, 2], [n, 9]) for n in (5, 6, 7))
    other = AnsweredPrompt([1, 3], [5, 9]), AnsweredPrompt([1, 3], [6, 6, 9])
    pairs = [Pair(a, b, 1.0, "r"), Pair(a, c, 0.5, "r"), Pair(*other, 0.25, "r"), Pair(c, b, 1.0, "r")]
    rows = [*rankings(pairs)]
    assert [row["pairs"] for row in rows] == [[[0, 1], [0, 2], [2, 1]], [[0, 1]]]
    assert [len(row["answers"]) for row in rows] == [3, 2]
    batch = collate_rows(rows, 0, margin=True)
    assert batch["input_ids"].tolist()[2:] == [[1, 2, 7, 9, 0], [1, 3, 5, 9, 0], [1, 3, 6, 6, 9]]
    assert batch["attention_mask"].sum(1).tolist() == [4, 4, 4, 4, 5]
    assert batch["pairs"].tolist() == [[0, 1], [0, 2], [2, 1], [3, 4]]
    assert batch["shares"].tolist() == pytest.approx([1 / 6] * 3 + [1 / 2])
    assert batch["margins"].tolist() == [1.0, 0.5, 1.0, 0.25]
    assert "margins" not in collate_rows(rows, 0, margin=False)
    expected_tokens = [[0, 0, 1 / 12, 1 / 12, 0]] * 3 + [[0, 0, 1 / 10, 1 / 10, 0], [0, 0, 1 / 10, 1 / 10, 1 / 10]]
    assert torch.allclose(batch["token_shares"], torch.tensor(expected_tokens))
    scores = torch.tensor([2.0, 0.0, 1.0, 0.0, 3.0])
    expected = sum(math.log1p(math.exp(-gap)) for gap in (2, 1, 1)) / 6 + math.log1p(math.exp(3)) / 2
    assert float(bradley_terry(scores, batch["pairs"], batch["shares"])) == pytest.approx(expected)


def test_it_learns_what_it_is_shown(chain: Chain) -> None:
    """On its training pairs it learns people's preferences (one person each, so without cycles)."""
    long = ("reward.learning_rate=3e-3", "reward.epochs=12", "reward.keep_best=false", "reward.batch_size=2")
    made = chain.make("reward", *PLAIN, *long, "labeling.overlap=1")
    model, chat = loaded(made)
    chosen, rejected = (scored(model, chat, rows) for rows in rows_of(made, chat, "train.jsonl"))
    assert sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(chosen) > 0.95


@pytest.mark.parametrize(("sft", "reward"), [("full", "full"), ("full", "lora"), ("lora", "lora"), ("lora", "full")])
def test_saved_loaded_and_merged_it_scores_the_same(chain: Chain, tmp_path: Path, sft: str, reward: str) -> None:
    """Rule 5: the head is saved and loaded with the adapter (trl#1379), here and by transformers alone."""
    made = chain.make("reward", *SMALL, f"peft@sft.peft={sft}", f"peft@reward.peft={reward}")
    model, chat = loaded(made)
    rows, _ = rows_of(made, chat)
    expected = scored(model, chat, rows)
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    merged.save_pretrained(tmp_path / "merged")
    chat.tokenizer.save_pretrained(tmp_path / "merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    assert plain.config.num_labels == 1
    for row, score in zip(rows, expected, strict=True):
        with torch.no_grad():
            logits = plain(torch.tensor([row.prompt + row.answer])).logits
        assert logits.shape == (1, 1)
        assert float(logits) == pytest.approx(score, abs=1e-4)
    if (sft, reward) == ("full", "lora"):
        from peft import PeftModel

        below = AutoModelForSequenceClassification.from_pretrained(made.inputs["policy"].path / "model", num_labels=1)
        by_peft = PeftModel.from_pretrained(below, made.path / "model").eval()
        with torch.no_grad():
            logits = by_peft(torch.tensor([rows[0].prompt + rows[0].answer])).logits
        assert float(logits) == pytest.approx(expected[0], abs=1e-5)


def test_a_head_on_a_bfloat16_model_keeps_its_precision(chain: Chain, tmp_path: Path) -> None:
    """Loading rounds all weights to the model's precision except the head, since scores differ by small amounts."""
    folder = policy_in(tmp_path, chain, dtype=torch.bfloat16)
    for peft in ("full", "lora"):
        made = chain.make("reward", *SMALL, f"reward.inputs.policy={folder}", f"peft@reward.peft={peft}")
        name = "score.weight" if peft == "full" else HEAD
        saved = weights(made)[name]
        assert saved.dtype == torch.float32
        assert not torch.equal(saved, saved.bfloat16().float())
        model, chat = loaded(made)
        from pipeline.modeling.rewards.models import head_of

        assert torch.equal(head_of(model).weight, saved)
        chosen, rejected = (scored(model, chat, rows) for rows in rows_of(made, chat))
        agreed = sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(chosen)
        assert made.metrics["accuracy"] == pytest.approx(agreed, abs=0.1)  # in bfloat16 a score depends on its batch
