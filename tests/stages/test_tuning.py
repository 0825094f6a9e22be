"""SFT and DPO in every combination of full, LoRA and QLoRA: the weights that change, and the reference."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest

from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.stages.test_faults import assert_one_message
from tests.tokenizing import save_tokenizer, trl_templates

with lazily():
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.slow

METHODS = ("full", "lora", "qlora")
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)  # a code, an 8-bit maximum per 64 weights, a float32 maximum per 256 of these


def weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    files = list((artifact.path / "model").glob("*.safetensors"))
    assert len(files) == 1
    return load_file(files[0])


@pytest.mark.parametrize(("sft", "dpo"), list(product(METHODS, METHODS)))
def test_exactly_what_should_change_does(chain: Chain, sft: str, dpo: str) -> None:
    """After each stage every trained parameter has changed, and the artifact has only these."""
    made = chain.make("dpo", f"peft@sft.peft={sft}", f"peft@dpo.peft={dpo}", "sft.peft.rank=4", "dpo.peft.rank=2")
    policy = made.inputs["policy"]
    for artifact, method, rank in ((policy, sft, 4), (made, dpo, 2)):
        after = weights(artifact)
        if method == "full":
            before = weights(artifact.inputs["base"]) if artifact is policy else full_weights_below(policy)
            assert set(after) == set(before)
            assert all(not torch.equal(after[name], before[name]) for name in after)
        else:
            assert all(".lora_A." in name or ".lora_B." in name for name in after)
            assert all(min(value.shape) == rank for value in after.values())
            assert all(value.abs().max() > 0 for name, value in after.items() if ".lora_B." in name)  # B starts at zero
        assert artifact.metrics["trainable"] == sum(value.numel() for value in after.values())
    expected = NF4_BITS if dpo == "qlora" or (dpo == "lora" and sft == "qlora") else 32
    assert made.metrics["bits_per_base_weight"] == pytest.approx(expected, rel=0.03)


def full_weights_below(policy: Artifact) -> dict[str, torch.Tensor]:
    """Return the weights that full DPO starts from: the SFT policy with its adapter merged."""
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.sources import source_of, tokenizer_of

    source = source_of(policy)
    tokenizer, _ = tokenizer_of(source)
    model = load_policy(source, tokenizer, torch.device("cpu"), quantized=False)
    if source.adapters:
        model = model.merge_and_unload()
    return {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}


@pytest.mark.parametrize(("sft", "dpo"), [("full", "full"), ("lora", "lora"), ("qlora", "qlora"), ("full", "qlora")])
def test_the_reference_is_the_sft_state(chain: Chain, sft: str, dpo: str) -> None:
    """Before its first update DPO's policy is its reference, so the first loss is -log sigmoid(0) = log 2."""
    made = chain.make(
        "dpo", f"peft@sft.peft={sft}", f"peft@dpo.peft={dpo}", "dpo.learning_rate=1e-12", "dpo.sft_weight=0"
    )
    losses = [row["eval_loss"] for row in read_jsonl(made.file("history.jsonl")) if "eval_loss" in row]
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=2e-3 if "qlora" in (sft, dpo) else 1e-5)


def test_dpo_raises_the_chosen_over_the_rejected(chain: Chain) -> None:
    """On its training pairs the margin grows from the first to the last of four epochs, on average."""
    made = chain.make("dpo", "dpo.learning_rate=1e-3", "dpo.epochs=4", "dpo.schedule=constant")
    rows = [row for row in read_jsonl(made.file("history.jsonl")) if "margin" in row]
    first = [row["margin"] for row in rows if row["epoch"] <= 1]
    last = [row["margin"] for row in rows if row["epoch"] > 3]
    assert sum(last) / len(last) > sum(first) / len(first) + 0.1


def test_sft_learns_the_assistants_tokens_only(chain: Chain) -> None:
    """All labels except those of the answers and their stop tokens are ignored."""
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.sources import source_of, tokenizer_of
    from pipeline.modeling.tuning import IGNORED_LABEL, LABELLED

    tokenizer, _ = tokenizer_of(source_of(chain.make("base")))
    chat = ChatFormat(tokenizer)
    messages = [
        {"role": role, "content": text}
        for role, text in (
            ("user", "My kettle hums."),
            ("assistant", "Wrap it."),
            ("user", "Why?"),
            ("assistant", "Because."),
        )
    ]
    row = chat.conversation(messages)
    labels = LABELLED.columns(row)["labels"]
    learned = tokenizer.decode([label for label in labels if label != IGNORED_LABEL])
    assert learned == " Wrap it.</s> Because.</s>"


OVERFITTING = (
    *("data.world.demonstrations=16", "sft.learning_rate=0.01", "sft.schedule=constant", "sft.weight_decay=0"),
    *("sft.epochs=60", "sft.evaluations=6"),
)


def test_keep_best_takes_the_lowest_evaluation_loss(chain: Chain) -> None:
    """A run that overfits keeps an earlier checkpoint; with keep_best=false it keeps the last."""
    best, last = (chain.make("sft", *OVERFITTING, f"sft.keep_best={keep}") for keep in ("true", "false"))
    losses = [row["eval_loss"] for row in read_jsonl(best.file("history.jsonl")) if "eval_loss" in row]
    assert len(losses) == 6
    assert min(losses) < losses[-1]
    assert best.metrics["eval_loss"] == pytest.approx(min(losses))
    assert last.metrics["eval_loss"] == pytest.approx(losses[-1])
    assert loss_on_dev(best) == pytest.approx(min(losses), rel=1e-3)
    assert loss_on_dev(last) == pytest.approx(losses[-1], rel=1e-3)
    assert "overfitting" in best.file("log.txt").read_text()


def loss_on_dev(artifact: Artifact) -> float:
    """Return the loss per answer token of the artifact's weights, computed without the trainer."""
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
    from pipeline.modeling.sources import source_of, tokenizer_of

    source = source_of(artifact)
    tokenizer, _ = tokenizer_of(source)
    chat, model = ChatFormat(tokenizer), load_policy(source, tokenizer, torch.device("cpu"))
    turns = [row["messages"] for row in read_jsonl(artifact.inputs["data"].file("dev.jsonl"))]
    rows = [AnsweredPrompt(chat.prompt(t[:1]), chat.answer(t[:1], t[1]["content"])) for t in turns]
    sums = answer_logprobs(model, rows, pad_id=tokenizer.pad_token_id, batch_size=7)
    return -sum(sums) / sum(len(row.answer) for row in rows)


def test_early_stopping_ends_before_the_last_step(chain: Chain) -> None:
    made = chain.make("sft", *OVERFITTING, "sft.early_stopping=true", "sft.patience=1")
    losses = [row["eval_loss"] for row in read_jsonl(made.file("history.jsonl")) if "eval_loss" in row]
    assert len(losses) < 6


def test_micro_batches_give_the_same_run(chain: Chain, tmp_path: Path) -> None:
    """Accumulated micro batches equal one global batch: the same version, and equal weights up to rounding."""
    whole = chain.make("sft", "sft.seed=5")
    split = chain.beside(tmp_path, *whole.inputs.values()).make("sft", "sft.seed=5", "launch.micro_batch_size=4")
    assert whole.version == split.version
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(split)[name], atol=2e-4)


@pytest.mark.parametrize("stage", ["base", "sft", "dpo", "reward"])
def test_numbers_that_blow_up_end_the_stage_with_status_1(chain: Chain, stage: str) -> None:
    """One message and no version; earlier evaluations do not count."""
    before = set(chain.outputs.glob(f"playground/{stage}/*/manifest.json"))
    run = chain.ended(f"stage={stage}", f"{stage}.learning_rate=1", f"{stage}.weight_decay=1e30", f"{stage}.warmup=0")
    assert_one_message(run, 1, "is nan after step", "lower learning_rate")
    assert set(chain.outputs.glob(f"playground/{stage}/*/manifest.json")) == before


def test_pairs_that_a_template_refuses_cost_their_rows(chain: Chain, tmp_path: Path) -> None:
    """Gemma's template has no system turns: a prompt with one is left out, the others are used (also by gates)."""
    gemma = save_tokenizer(tmp_path / "model", trl_templates()["gemma"], eos_token="<eos>", bos_token="<bos>")
    words = len(AutoTokenizer.from_pretrained(gemma))
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=words, **shape)).save_pretrained(gemma)
    prompts: list[list[dict[str, str]]] = [[{"role": "user", "content": f"Kettle {n} hums."}] for n in range(30)]
    for prompt in prompts[::10]:
        prompt.insert(0, {"role": "system", "content": "Be kind."})
    pairs = [
        {"prompt": prompt, "chosen": f"Wrap it {n} times.", "rejected": "No idea."} for n, prompt in enumerate(prompts)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    own = ("model=hub", f"model.path={gemma}", "model.dtype=float32", "labeling=file", f"labeling.path={file}")
    made = chain.make("dpo", *own, f"dpo.inputs.policy={gemma}", "preferences.judge_fraction=0", "dpo.batch_size=8")
    parts = [made.inputs["preferences"].file(f"{name}.jsonl") for name in ("train", "test")]
    systems = [sum(row["prompt"][0]["role"] == "system" for row in read_jsonl(part)) for part in parts]
    assert sum(systems) == 3
    assert made.metrics["pairs"] == len(read_jsonl(parts[0])) - systems[0]
    for part, count in zip(parts, systems, strict=True):
        left_out = read_jsonl(made.path / f"ledger.{part.name}") if count else []
        reasons = [entry["reason"] for entry in left_out]
        assert reasons == ["the chat template refuses it: System role not supported"] * count
