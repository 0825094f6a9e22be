"""The limit on the length of answers: by default from the demonstrations, the same in every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import read_jsonl
from pipeline.lengths.limits import UNKNOWN, answer_tokens, with_limit
from tests.lazily import lazily
from tests.stages.conftest import Chain

with lazily():
    from transformers import AutoTokenizer

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.sources import source_of, tokenizer_of

FREE = ("sample.decoding.max_new_tokens=null", "evaluate.decoding.max_new_tokens=null", "ppo.max_new_tokens=null")
SMALL = ("evaluate.judge=false", "preferences.judge_fraction=0", "ppo.watch_judge=false", "gates=off")


def test_the_limit_leaves_98_of_100_answers_whole() -> None:
    """Each answer of a conversation counts separately."""
    masks = [[0, *[1] * length, 0, 1] for length in range(1, 51)]  # 50 answers with 1 to 50 tokens, 50 with one token
    assert answer_tokens(masks) == 48
    assert answer_tokens([[0, 1, 1]]) == 2


def test_sft_says_how_long_its_demonstrations_answers_are(chain: Chain) -> None:
    """Compared with the texts, tokenized outside the stage."""
    made = chain.make("sft")
    tokenizer = AutoTokenizer.from_pretrained(made.path / "model")
    turns = [row["messages"] for row in read_jsonl(made.inputs["data"].file("sft.jsonl"))]
    answers = [turn["content"] for messages in turns for turn in messages if turn["role"] == "assistant"]
    lengths = [len(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) + 1 for answer in answers]
    limit = made.metrics["answer_tokens"]
    assert sum(length <= limit for length in lengths) >= 0.98 * len(lengths)
    assert sum(length < limit for length in lengths) < 0.98 * len(lengths)


def test_every_stage_that_draws_answers_has_the_same_limit(chain: Chain) -> None:
    made = chain.make("evaluate", *FREE, *SMALL)
    policies = [made.inputs[name] for name in ("sft", "dpo", "ppo")]
    limit = policies[0].metrics["answer_tokens"]
    sample = policies[1].inputs["preferences"].inputs["rankings"].inputs["publish"].inputs["sample"]
    assert {given.metrics["max_new_tokens"] for given in (made, sample, policies[2])} == {limit}
    assert made.manifest["config"]["decoding"]["max_new_tokens"] is None
    for drawn in (made, sample, policies[2]):
        assert f"answers have up to {limit:.0f} tokens: 98% of the demonstrations'" in drawn.file("log.txt").read_text()
    chat = ChatFormat(tokenizer_of(source_of(policies[0]))[0])
    answers = [answer for row in read_jsonl(sample.file("answers.jsonl")) for answer in row["answers"]]
    assert max(len(chat.tokenizer(answer["text"])["input_ids"]) for answer in answers) > 12  # what other tests set


def test_a_limit_that_is_set_is_kept_and_nothing_is_said(chain: Chain) -> None:
    said: list[str] = []
    decoding, limit = with_limit(DecodingConfig(max_new_tokens=7), [chain.make("sft")], said.append)
    assert (decoding.max_new_tokens, limit, said) == (7, 7, [])


@pytest.mark.parametrize(("context", "expected"), [(None, 128), (4096, UNKNOWN)])
def test_without_demonstrations_it_is_a_stated_number_within_the_context(
    chain: Chain, tmp_path: Path, context: int | None, expected: int
) -> None:
    """The tiny base model has a context of 256; a user's model has no known SFT stage."""
    base = chain.make("base") if context is None else chain.make("base", f"base.context={context}")
    said: list[str] = []
    assert with_limit(DecodingConfig(), [base], said.append)[1] == expected
    assert said == [
        f"answers have up to {expected} tokens: their lengths are unknown without an SFT of this pipeline "
        "(max_new_tokens)"
    ]
