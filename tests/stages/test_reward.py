"""Reward models on the tiny chain: trained and frozen weights, the inputs of a score, refusals."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.schema import LaunchConfig
from pipeline.data.rows import prompt_id, read_jsonl
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.test_faults import assert_one_message
from tests.stages.test_resuming import kill_when, results, weights_hash
from tests.stages.test_tuning import NF4_BITS, full_weights_below, weights
from tests.tokenizing import save_tokenizer

with lazily():
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    from pipeline.modeling.answering import Answer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.rewards.models import initialize_head, load_reward
    from pipeline.modeling.rewards.scoring import RewardModel, pad_rows, padding_difference, raw_scores, read_scores
    from pipeline.modeling.rewards.training import Pair, bradley_terry, collate_rows, rankings
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.sources import source_of, tokenizer_of

pytestmark = pytest.mark.slow

METHODS = ("full", "lora", "qlora")
PLAIN = ("reward.weight_decay=0", "reward.sft_weight=0", "reward.token_weight=0", "reward.keep_best=true")
SMALL = ("reward.batch_size=4", "reward.learning_rate=1e-3", "reward.epochs=1", *PLAIN)
HEAD = "base_model.model.score.weight"
QUESTION = [{"role": "user", "content": "My kettle hums. What can I do?"}]


def context(folder: Path) -> StageContext:
    """Return a stage's context for use outside of a stage."""
    runtime = Runtime(LaunchConfig(device="cpu"), threads=1)
    return StageContext({}, folder, runtime, progress, lambda remark: None, lambda metrics, step: None)


def loaded(artifact: Artifact) -> tuple[Any, ChatFormat]:
    source = source_of(artifact)
    tokenizer, _ = tokenizer_of(source)
    return load_reward(source, tokenizer, torch.device("cpu")), ChatFormat(tokenizer)


def rows_of(
    artifact: Artifact, chat: ChatFormat, name: str = "test.jsonl"
) -> tuple[list[AnsweredPrompt], list[AnsweredPrompt]]:
    """Return the chosen and the rejected answers of one file of pairs."""
    rows = read_jsonl(artifact.inputs["preferences"].file(name))
    sides = (
        [
            AnsweredPrompt(chat.prompt(row["prompt"]), chat.answer(row["prompt"], row[side][0]["content"]))
            for row in rows
        ]
        for side in ("chosen", "rejected")
    )
    chosen, rejected = sides
    return chosen, rejected


def scored(model: Any, chat: ChatFormat, rows: Sequence[AnsweredPrompt], batch_size: int = 8) -> list[float]:
    return raw_scores(model, rows, pad_id=chat.tokenizer.pad_token_id, batch_size=batch_size)


# -- trained and frozen weights ----------------------------------------------------------------------------------------


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
    from pipeline.config.schema import PeftConfig
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
    batch = collate_rows(rankings([Pair(a, b, 1.0, "r"), Pair(b, c, 1.0, "r")]), tokenizer.pad_token_id, margin=False)
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
    rows = rankings(pairs)
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


# -- the inputs of a score ---------------------------------------------------------------------------------------------


def policy_in(folder: Path, chain: Chain, *, template: str | None = None, dtype: Any = None, **config: Any) -> Path:
    """Write the SFT policy to a folder with some changes."""
    made = chain.make("sft").path / "model"
    model = AutoModelForCausalLM.from_pretrained(made, dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(made)
    tokenizer.chat_template = template or tokenizer.chat_template
    model.config.update(config)
    model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return folder / "policy"


OTHER_STOP = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|> {{ m['content'] }}<|system|>"
    "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize("template", [None, OTHER_STOP], ids=["eos", "another stop"])
@pytest.mark.parametrize("peft", METHODS)
def test_scores_do_not_depend_on_padding_or_batch(
    chain: Chain, tmp_path: Path, peft: str, template: str | None
) -> None:
    """Rule 2: read at the last real token, by index (arXiv 2009.01325, trl#2778), for every stop token."""
    folder = policy_in(tmp_path, chain, template=template)
    made = chain.make("reward", *SMALL, f"reward.inputs.policy={folder}", f"peft@reward.peft={peft}")
    model, chat = loaded(made)
    chosen, rejected = rows_of(made, chat)
    said = json.loads(made.file("reward.json").read_text())
    assert said["stop_id"] == chat.stop_id != said["pad_id"]
    assert (chat.stop_id == chat.tokenizer.eos_token_id) == (template is None)
    assert all(row.answer[-1] == chat.stop_id for row in chosen)
    difference = padding_difference(model, [*chosen, *rejected], chat.tokenizer.pad_token_id)
    assert difference < (0.02 if peft == "qlora" else 1e-5)
    assert made.metrics["padding_difference"] <= said["scale"] * (0.02 if peft == "qlora" else 1e-5)
    lengths = {len(row.prompt) + len(row.answer) for row in chosen}
    assert len(lengths) > 1


@pytest.mark.parametrize("peft", ["full", "lora"])
def test_another_pad_id_changes_nothing(chain: Chain, peft: str) -> None:
    """Rule 1: PAD is not EOS, and its id has no effect, also if a cut-off answer ends with it."""
    made = chain.make("reward", *SMALL, f"peft@reward.peft={peft}")
    model, chat = loaded(made)
    pad, stop = chat.tokenizer.pad_token_id, chat.stop_id
    rows, _ = rows_of(made, chat)
    other = next(token for token in rows[0].answer if token not in (pad, stop))
    for odd in (pad, other):
        cut = [AnsweredPrompt(row.prompt, [*row.answer[:-1], odd]) for row in rows]
        alone = raw_scores(model, cut, pad_id=stop, batch_size=1)
        for pad_id, left in product((pad, stop, other), (False, True)):
            assert raw_scores(model, cut, pad_id=pad_id, batch_size=8, left=left, more=3) == pytest.approx(
                alone, abs=1e-5
            )
    ids, attention = pad_rows([rows[0].prompt + rows[0].answer[:-1] + [pad]], pad)
    with torch.no_grad():
        by_index = float(read_scores(model, ids, attention))
        before = float(read_scores(model, ids[:, :-1], attention[:, :-1]))
    assert by_index != before  # the last token counts, although it equals the pad token


def test_the_stop_token_is_seen(chain: Chain) -> None:
    """An answer and the same answer cut off have different scores; the score is that of the last token."""
    model, chat = loaded(chain.make("reward", *SMALL))
    whole = AnsweredPrompt(chat.prompt(QUESTION), chat.answer(QUESTION, "Wrap it in wool."))
    cut = AnsweredPrompt(whole.prompt, whole.answer[:-1])
    one, other = scored(model, chat, [whole, cut])
    assert one != other


def test_dropout_is_off(chain: Chain, tmp_path: Path) -> None:
    """Rule 9 (arXiv 2009.01325): also in training, and for a model that calls the function and not a module."""
    from pipeline.config.schema import PeftConfig
    from pipeline.modeling.rewards.models import load_reward_for_training
    from pipeline.modeling.sources import PolicySource

    folder = str(policy_in(tmp_path, chain, attention_dropout=0.5))
    assert AutoConfig.from_pretrained(folder).attention_dropout == 0.5
    source = PolicySource(folder, folder)
    tokenizer, _ = tokenizer_of(source)
    model = load_reward_for_training(source, tokenizer, torch.device("cpu"), PeftConfig(), 0).train()
    ids, attention = pad_rows([ChatFormat(tokenizer).prompt(QUESTION)], tokenizer.pad_token_id)
    assert torch.equal(read_scores(model, ids, attention), read_scores(model, ids, attention))
    policy = AutoModelForCausalLM.from_pretrained(folder).train()
    assert not torch.equal(policy(ids).logits, policy(ids).logits)


# -- one template and one stop token, from training to scoring ---------------------------------------------------------


def answered(chat: ChatFormat, text: str, stopped: bool = True) -> Answer:
    ids = chat.answer(QUESTION, text)
    return Answer(text, ids if stopped else ids[:-1], stopped)


@pytest.mark.parametrize("stopped", [True, False])
def test_what_the_policy_wrote_is_what_is_scored(chain: Chain, tmp_path: Path, stopped: bool) -> None:
    """Rule 4 (trl#1702): exactly the policy's ids of prompt and answer are scored."""
    made = chain.make("reward", *SMALL)
    model = RewardModel(made, context(tmp_path))
    chat = ChatFormat(tokenizer_of(source_of(made.inputs["policy"]))[0])
    answer = answered(chat, "Wrap it in wool.", stopped)
    odd = Answer(
        answer.text, chat._tokenize(" Wrap i") + chat._tokenize("t in wool.") + answer.ids[-1:] * stopped, stopped
    )
    for given in (answer, odd):  # a sampled answer can have other ids than its tokenized text
        (row,) = model.rows([QUESTION], [given])
        assert row == AnsweredPrompt(chat.prompt(QUESTION), given.ids)
    assert odd.ids != answer.ids
    turns = [*QUESTION, {"role": "assistant", "content": answer.text}]
    whole = chat.conversation(turns).ids
    assert answer.ids == whole[len(chat.prompt(QUESTION)) :][: len(answer.ids)]


def test_training_and_scoring_see_the_same_ids(chain: Chain, tmp_path: Path) -> None:
    """Rule 4: RewardModel gives a pair the same ids as the trainer got."""
    made = chain.make("reward", *SMALL)
    model = RewardModel(made, context(tmp_path))
    rows = read_jsonl(made.inputs["preferences"].file("test.jsonl"))
    chosen, _ = rows_of(made, model.chat)
    given = [Answer(row["chosen"][0]["content"], [], True) for row in rows]
    assert model.rows([row["prompt"] for row in rows], given) == chosen


def test_the_answers_that_people_judged_average_zero(chain: Chain, tmp_path: Path) -> None:
    """Rule 6 (arXiv 1909.08593, 2009.01325): the artifact has shift and scale, and they are applied."""
    made = chain.make("reward", *SMALL)
    said = json.loads(made.file("reward.json").read_text())
    model, rows = RewardModel(made, context(tmp_path)), read_jsonl(made.inputs["preferences"].file("train.jsonl"))
    prompts = [row["prompt"] for row in rows for _ in range(2)]
    answers = [Answer(row[side][0]["content"], [], True) for row in rows for side in ("chosen", "rejected")]
    scores = model.score(prompts, answers)
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-4)
    assert sum(score**2 for score in scores) / len(scores) == pytest.approx(1, abs=1e-3)
    raw = scored(model.model, model.chat, model.rows(prompts, answers))
    assert scores == pytest.approx([said["scale"] * (one - said["shift"]) for one in raw], abs=1e-4)
    assert (made.metrics["shift"], made.metrics["scale"]) == pytest.approx((said["shift"], said["scale"]))
    weight, bias = model.linear_head()
    state = weight / said["scale"] @ torch.ones(64)
    assert float(weight @ torch.ones(64) + bias) == pytest.approx(
        said["scale"] * (float(state) - said["shift"]), rel=1e-4
    )


def test_held_out_answers_average_near_zero(chain: Chain) -> None:
    """Measured on prompts that were used neither in training nor for the shift, so the test can fail."""
    made = chain.make("reward", *SMALL, "data.world.preference_prompts=60")
    assert abs(made.metrics["reference_mean"]) < 0.5


# -- models that users bring -------------------------------------------------------------------------------------------


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


# -- the judge ---------------------------------------------------------------------------------------------------------


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


# -- refusals and interruptions ----------------------------------------------------------------------------------------


def pairs_in(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write pairs as the stage `preferences` does to a user's folder; return the override for it."""
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"reward.inputs.preferences={folder}"


def pair(chosen: str, rejected: str) -> dict[str, Any]:
    sides = {"chosen": chosen, "rejected": rejected}
    said = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
    return {"prompt": QUESTION, **said, "margin": 1.0, "group": "g"}


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
