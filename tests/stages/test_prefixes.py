"""Prefix tuning: SFT trains a prefix alone, every stage sees it, and what it does not go with is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.config.nodes.models import PeftConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.conftest import Chain

with lazily():
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.drawing import TokenSampler, numbers_of_rows
    from pipeline.modeling.generation import generated, sampled
    from pipeline.modeling.heads import ids_with_token
    from pipeline.modeling.passes import pad_rows
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.prefixes import with_new_prefix
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
    from pipeline.modeling.sources import source_of, tokenizer_of

PAD, MOST = 1, 12
PROMPTS = [[4 + (7 * i + j) % 60 for j in range(1 + 3 * i % 11)] for i in range(9)]
PREFIX = PeftConfig("prefix", virtual_tokens=6)
WINDOW, UNREACHED = "window of tokens", "before every layer"
REFUSED = {  # why a prefix is refused; before all other architectures it is right
    **dict.fromkeys(("gemma2", "gemma3_text", "gemma4_text", "cohere2", "modernbert_decoder"), WINDOW),
    "recurrent_gemma": WINDOW,
    **dict.fromkeys(("falcon_h1", "minicpm3"), UNREACHED),
}


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_prefix_is_before_every_layer_in_all_passes_or_refused(name: str) -> None:
    """Our own passes, with padding and a cache, against those of peft, which adds the prefix itself."""
    if name in REFUSED:
        with pytest.raises(RequestError, match=REFUSED[name]):
            with_new_prefix(tiny.model(name), PREFIX, PAD, name)
        return
    bare, chat = tiny.model(name), ChatFormat(tiny.tokenizer())
    model = with_new_prefix(tiny.model(name), PREFIX, PAD, name)
    numbers = numbers_of_rows(0, range(len(PROMPTS)), MOST)
    sampler = TokenSampler(ids_with_token(chat.tokenizer))
    drawn = sampled(model, chat, PROMPTS, numbers, sampler)
    assert drawn == generated(model, chat, PROMPTS, numbers, sampler)
    assert drawn != sampled(bare, chat, PROMPTS, numbers, sampler)

    rows = [AnsweredPrompt(prompt, answer.ids) for prompt, answer in zip(PROMPTS, drawn, strict=True)]
    found = answer_logprobs(model, rows, pad_id=PAD, batch_size=4)
    ids, attention = pad_rows([row.prompt + row.answer for row in rows], PAD)
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=attention).logits.float().log_softmax(-1)
    for row, value, own in zip(rows, found, logs, strict=True):
        places = range(len(row.prompt) - 1, row.length - 1)
        assert value == pytest.approx(float(own[places, row.answer].sum()), abs=1e-3)


def test_a_prefix_lowers_the_loss_and_is_the_same_after_loading(chain: Chain) -> None:
    """The evaluation loss is that which peft and transformers alone find with the saved files."""
    made = chain.make("sft", "peft@sft.peft=prefix", "sft.learning_rate=0.1", "sft.epochs=6")
    weights = load_file(made.path / "model" / "adapter_model.safetensors")
    base = made.inputs["base"]
    model = AutoModelForCausalLM.from_pretrained(base.path / "model").eval()
    layers, keys = model.config.num_hidden_layers, model.config.hidden_size
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "prompt_embeddings": (20, 2 * layers * keys)
    }
    assert made.metrics["trainable"] == 20 * 2 * layers * keys
    losses = [row["eval_loss"] for row in read_jsonl(made.file("history.jsonl")) if "eval_loss" in row]
    assert losses == sorted(losses, reverse=True), "the tiny base knows little that a prefix could ask for"
    assert losses[-1] < losses[0] - 0.005

    source = source_of(made)
    tokenizer, _ = tokenizer_of(source)
    own, alone = (
        load_policy(source, tokenizer, torch.device("cpu")),
        PeftModel.from_pretrained(model, made.path / "model"),
    )
    rendered = [row for one in read_jsonl(made.inputs["data"].file("dev.jsonl")) for row in _rows(tokenizer, one)]
    total = count = 0.0
    for ids, mask in rendered:
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.no_grad():
            logits = alone(**given).logits[0, :-1].float()
            assert torch.allclose(own(**given).logits[0, :-1], logits, atol=1e-5)
        logs = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        total -= float((logs * torch.tensor(mask[1:])).sum())
        count += sum(mask[1:])
    assert made.metrics["eval_loss"] == pytest.approx(total / count, abs=1e-4)


def _rows(tokenizer: object, one: dict[str, object]) -> list[tuple[list[int], list[int]]]:
    return [(row.ids, row.mask) for row in ChatFormat(tokenizer).rows(one["messages"])]


def test_its_policy_is_sampled_evaluated_and_exported_as_an_adapter(chain: Chain) -> None:
    request = ("peft@sft.peft=prefix", "sft.learning_rate=3e-2")
    sample = chain.make("sample", *request)
    assert sample.inputs["sft"].manifest["config"]["peft"]["method"] == "prefix"
    judged = chain.make("evaluate", *request, "evaluate.policies=[base,sft]", "evaluate.judge=false")
    assert judged.metrics["base/kl"] > 0
    assert math.isfinite(judged.metrics["sft/perplexity"])
    exported = chain.make("export", *request, "export.policy=sft", "export.merge=false")
    saved = load_file(exported.path / "model" / "adapter_model.safetensors")
    assert {*saved} == {"prompt_embeddings"}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (("stage=dpo", "peft@sft.peft=prefix"), "cannot be trained further"),
        (("stage=reward", "peft@sft.peft=prefix"), "cannot be trained further"),
        (("stage=ppo", "peft@sft.peft=prefix"), "cannot be trained further"),
        (("stage=dpo", "peft@dpo.peft=prefix"), "only sft trains a prefix"),
        (("stage=export", "export.policy=sft", "peft@sft.peft=prefix"), "export.merge=false"),
        (("stage=sft", "peft=prefix", "sft.packing=true"), "sft.packing=false"),
        (("stage=sft", "peft=prefix", "launch.gradient_checkpointing=true"), "launch.gradient_checkpointing=false"),
        (("stage=sft", "peft=prefix", "launch.compile=true"), "launch.compile=false"),
        (("stage=sft", "peft=prefix", "launch.processes=2"), "launch.processes=1"),
    ],
)
def test_what_a_prefix_does_not_go_with_is_refused_when_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request_: tuple[str, ...], words: str
) -> None:
    assert Chain(tmp_path).run(*request_, "plan=true") == 2
    assert words in " ".join(capsys.readouterr().err.split())
