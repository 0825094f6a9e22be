"""The scores of reward models: padding, the stop token, one template from training to scoring."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from pipeline.data.rows import read_jsonl
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.rewards import METHODS, QUESTION, SMALL, answered, context, loaded, policy_in, rows_of, scored

with lazily():
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
    )

    from pipeline.modeling.answering import Answer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.rewards.scoring import RewardModel, pad_rows, padding_difference, raw_scores, read_scores
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.sources import source_of, tokenizer_of

pytestmark = pytest.mark.slow


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
    from pipeline.config.nodes.models import PeftConfig
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
