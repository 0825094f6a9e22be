"""Every architecture with every method: correct in all stages, or refused with a reason, never silently wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.errors import RequestError
from tests.examples import is_deep
from tests.lazily import lazily
from tests.stages.architectures import ALIKE, ARCHITECTURES, METHODS, STAGE_NAMES, refusal
from tests.stages.architectures_table import DOCUMENT, document
from tests.stages.matrix import Laboratory

with lazily():
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.heads import ids_with_token
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.roles import ValueStart, build_roles
    from pipeline.modeling.sampling import sample
    from pipeline.modeling.sources import source_of, tokenizer_of

IDS = [[1, 20, 30, 40, 50, 60, 70, 80], [1, 90, 91]]
APART = re.compile(r"vision|multi_modal|layer_scalar$")  # text does not pass through it, or it is not a parameter
ADAPTED_EXPERTS = {"mixtral", "qwen3_moe", "olmoe", "qwen3_next"}  # peft can adapt their experts
STEPS = 6  # tokens to draw


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def check_sft(lab: Laboratory) -> None:
    """Exactly the parameters that text passes through have changed."""
    after = weights(lab.made["sft"].path / "model")
    if lab.method == "full":
        before = weights(lab.base.path)
        assert set(after) == set(before)
        still = {name for name in after if torch.equal(after[name], before[name])}
        experts = {name for name in after if re.search(r"\.experts\.\d+\.", name)}
        assert len(still & experts) < len(experts) / 2 or not experts
        still -= experts  # those that received no token
        expected = {name for name in after if APART.search(name)}
        assert still == expected, f"unmoved: {sorted(still ^ expected)[:3]}"
    else:
        assert after
        assert not [name for name in after if APART.search(name)]
        still = [name for name, value in after.items() if ".lora_B." in name and not value.abs().max() > 0]
        assert not still, f"unmoved: {still[:3]}"
    assert math.isfinite(lab.made["sft"].metrics["eval_loss"])


def check_dpo(lab: Laboratory) -> None:
    """Before the first update policy and reference are equal: every loss is log 2."""
    losses = [row[key] for row in lab.history("dpo") for key in ("loss", "eval_loss") if key in row]
    assert losses == pytest.approx([math.log(2)] * len(losses), abs=1e-4), f"DPO begins at {losses}"


def check_reward(lab: Laboratory) -> None:
    """Scores do not depend on padding."""
    assert lab.made["reward"].metrics["padding_difference"] < 1e-3


def check_ppo(lab: Laboratory) -> None:
    """Before the first step KL to the reference is 0 and the ratio is 1; the sampler draws from the policy."""
    first = lab.history("ppo")[0]
    assert abs(first["kl"]) < 1e-4, f"KL {first['kl']}"
    assert first["start_difference"] < 1e-4, f"ratio differs by {first['start_difference']}"
    check_sampler(lab)


def check_sampler(lab: Laboratory) -> None:
    """PPO samples the same answers with padding, a cache and dropped rows as the policy gives for each prompt alone.

    One pass over a prompt and its answer gives each of its tokens' probabilities, from those before it.
    """
    inputs = lab.inputs("ppo")
    in_training = prepare_model(inputs["policy"], lab.config.ppo.peft, 0, lab.context("ppo", inputs))
    policy = build_roles(in_training, ValueStart(), lab.config.ppo.peft, 0, recompute=False).policy
    policy.switch()
    prompts = [[1, *range(20, 20 + 3 * n)] for n in range(1, 5)]
    stop = 200  # some rows reach it
    options = {"pad_id": in_training.tokenizer.pad_token_id, "stop_id": stop, "temperature": 0.7, "seed": 3}
    limits = {"max_new_tokens": STEPS, "batch_size": 4, "valid_ids": ids_with_token(in_training.tokenizer)}
    drawn = sample(policy.decoder, policy.head, prompts, **limits, **options)
    chance = torch.rand(len(prompts), STEPS, generator=torch.Generator().manual_seed(3)).double()
    for row, prompt in enumerate(prompts):
        answer = drawn[row].ids
        assert stop not in answer[:-1]
        assert len(answer) == STEPS or answer[-1] == stop
        with torch.no_grad():
            logits = in_training.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        whole = (logits[:, : len(in_training.tokenizer)].float() / 0.7).softmax(-1).double().cumsum(-1)
        wanted = chance[row, : len(answer), None] * whole[:, -1:]
        alone = torch.searchsorted(whole, wanted, right=True)[:, 0].tolist()
        assert answer == alone, f"the sampler draws {answer}, alone {alone}"


def check_evaluate(lab: Laboratory) -> None:
    """Log-probabilities equal those of whole, unpadded passes."""
    source = source_of(lab.inputs("evaluate")["sft"])
    tokenizer, _ = tokenizer_of(source)
    chat, model = ChatFormat(tokenizer), load_policy(source, tokenizer, torch.device("cpu"))
    from pipeline.data.rows import read_jsonl

    total = count = 0.0
    for row in read_jsonl(lab.data.path / "test.jsonl"):
        prompt, answer = chat.prompt(row["prompt"]), chat.answer(row["prompt"], row["reference"])
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
        total += float(logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum())
        count += len(answer)
    expected = math.exp(-total / count)
    assert lab.made["evaluate"].metrics["sft/perplexity"] == pytest.approx(expected, rel=1e-3)


def check_export(lab: Laboratory) -> None:
    """transformers alone loads the folder, gives the policy's logits, and generates for padded prompts."""
    policy = lab.inputs("export")["policy"]
    source, folder = source_of(policy), lab.made["export"].path / "model"
    own = load_policy(source, tokenizer_of(source)[0], torch.device("cpu"), quantized=False)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    assert not isinstance(model, PeftModel)
    for ids in IDS:
        with torch.no_grad():
            difference = (own(torch.tensor([ids])).logits - model(torch.tensor([ids])).logits).abs().max()
        assert difference < 1e-3, f"logits differ by {difference}"
    texts = ["hums", "it sings all day", "My kettle"]
    asked = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    options = {"max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None}
    together = model.generate(**asked, **options)[:, -STEPS:]
    for text, written in zip(texts, together, strict=True):
        prompt = tokenizer(text, return_tensors="pt").input_ids[0]
        with torch.no_grad():
            logits = model(torch.cat([prompt, written])[None]).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == written.tolist(), "padding changes what is written"

    if lab.method == "lora":
        _check_adapter(lab, own)


def _check_adapter(lab: Laboratory, own: torch.nn.Module) -> None:
    """A stack of adapters is exported as one that peft alone adds to the base model; those on experts are refused."""
    if lab.name in ADAPTED_EXPERTS:
        with pytest.raises(RequestError, match=r"export\.merge=true"):
            lab.make("export", merge=False)
        return
    folder = lab.make("export", merge=False).path / "model"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lab.base.path), folder).eval()
    for ids in IDS:
        with torch.no_grad():
            difference = (own(torch.tensor([ids])).logits - model(torch.tensor([ids])).logits).abs().max()
        assert difference < 1e-3, f"logits of the adapter differ by {difference}"


CHECKS: Mapping[str, Callable[[Laboratory], None]] = {
    "sft": check_sft,
    "dpo": check_dpo,
    "reward": check_reward,
    "ppo": check_ppo,
    "evaluate": check_evaluate,
    "export": check_export,
}


ESSENTIAL = {  # each kind once, with its most difficult method
    *(("opt", "lora"), ("bloom", "full"), ("gemma2", "full"), ("granite", "qlora"), ("mixtral", "lora")),
    *(("qwen3_5", "lora"), ("gemma3", "lora"), ("falcon", "qlora")),
}
CELLS = [
    pytest.param(name, method, marks=[] if (name, method) in ESSENTIAL else [pytest.mark.slow])
    for name in ARCHITECTURES
    for method in METHODS
    if method == "lora" or name not in ALIKE or is_deep()
]


@pytest.mark.parametrize(("name", "method"), CELLS)
def test_an_architecture_is_right_in_every_stage_or_refused(tmp_path: Path, name: str, method: str) -> None:
    lab = Laboratory(name, method, tmp_path)
    for stage, check in CHECKS.items():
        words = refusal(name, method, stage)
        if words is None:
            lab.make(stage)
            check(lab)
        else:
            with pytest.raises(RequestError, match=words):
                lab.make(stage)


def test_what_is_left_out_by_default_is_run_for_another_architecture() -> None:
    assert {*ALIKE, *ALIKE.values()} <= {*ARCHITECTURES}
    assert not {*ALIKE.values()} & {*ALIKE}
    for name, other in ALIKE.items():
        assert all(refusal(name, method, s) == refusal(other, method, s) for method in METHODS for s in STAGE_NAMES)


def test_the_document_says_what_is_tested() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tests.stages.architectures_table"
