"""Policies on one base model give bit for bit what each gives when it is loaded alone; others have their own base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.config.nodes.models import DecodingConfig, PeftConfig
from pipeline.data.rows import read_jsonl
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.architectures import build
from tests.stages.conftest import Chain

with lazily():
    import torch
    from peft import LoraConfig, PrefixTuningConfig
    from safetensors.torch import load_file, save_file

    from pipeline.modeling.adapters import activate_adapters, lora_config, name_in_stack, with_adapter
    from pipeline.modeling.answering import Answerer, answerers_on_bases
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.sources import source_of, tokenizer_of

ARCHITECTURES = ("llama_tied", "gpt2", "gemma2", "lfm2", "mamba", "gemma3", "mixtral")
QUICK = ("llama_tied",)
WITH_EXPERTS = ("mixtral",)  # peft nests their adapters, so that one depends on the others
PROMPTS = [[{"role": "user", "content": "My kettle hums at night. " * n}] for n in (1, 3, 2)]
DECODING = DecodingConfig(temperature=1.0, top_p=1.0, max_new_tokens=6)
REFERENCES = [[20, 30, 40], [50, 60], [70]]
LORA = PeftConfig("lora", rank=4)
NEW = "default"  # the name of an adapter in training


class Found(NamedTuple):
    """What a policy answers, and its log-probabilities of given answers: as they are, without a tolerance."""

    answers: list[list[int]]
    logprobs: list[float]


def found(answerer: Answerer, folder: Path, turn: str) -> Found:
    drawn = answerer.draw(PROMPTS, DECODING, f"{folder.name} {answerer.name} {turn}")
    return Found([answer.ids for answer in drawn], answerer.logprobs(PROMPTS, REFERENCES))


def side_by_side(given: Mapping[str, Artifact], context: StageContext) -> dict[str, Answerer]:
    """Return the policies, all in memory at once."""
    answerers: dict[str, Answerer] = {}
    for name, one in given.items():
        answerers[name] = Answerer(one, context, 0, beside=answerers.values())
    return answerers


def adapter(below: Artifact, folder: Path, config: Any, method: str = "lora", seed: int = 0) -> Artifact:
    """Return a policy with a random adapter on another one, as a stage would leave it."""
    source = source_of(below)
    quantized = source.quantized or method == "qlora"
    model = load_policy(source, tokenizer_of(source)[0], torch.device("cpu"), quantized=quantized)
    if isinstance(config, PeftConfig):
        config = lora_config(config, model)
    torch.manual_seed(seed)
    made = with_adapter(model, config, NEW)
    if source.adapters:
        activate_adapters(made, [*(name_in_stack(i) for i in range(len(source.adapters))), NEW])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if f".{NEW}." in name or name.endswith(f".{NEW}") or "prompt_encoder" in name:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    made.save_pretrained(folder / "model", selected_adapters=[NEW])
    return Artifact("sft", folder.name, folder, {"config": {"peft": {"method": method}}}, {"policy": below})


def a_norm(base: Artifact) -> str:
    names = [name.rpartition(".")[0].rpartition(".")[2] for name in load_file(base.path / "model.safetensors")]
    return next(name for name in names if "norm" in name or "ln_" in name)


def policies(base: Artifact, folder: Path) -> Mapping[str, Artifact]:
    """Return policies with all that adapters on one base differ in, stacks of them and the base itself included."""
    sft = adapter(base, folder / "sft", LORA, seed=1)
    names = sorted(json.loads((sft.path / "model" / "adapter_config.json").read_text())["target_modules"])
    few = ",".join(names[: len(names) // 2 or 1])
    whole = {"target_modules": names[-1:], "task_type": "CAUSAL_LM"}
    return {
        "base": base,
        "sft": sft,
        "dpo": adapter(sft, folder / "dpo", PeftConfig("lora", rank=2, alpha=7, target_modules=few), seed=2),
        "ppo": adapter(sft, folder / "ppo", PeftConfig("lora", rank=8), seed=3),
        "other": adapter(base, folder / "other", PeftConfig("lora", rank=3, target_modules=few), seed=4),
        "saved": adapter(base, folder / "saved", LoraConfig(r=2, modules_to_save=[a_norm(base)], **whole), seed=5),
        "scaled": adapter(base, folder / "scaled", LoraConfig(r=4, use_rslora=True, lora_alpha=9, **whole), seed=6),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_policies_on_one_base_are_bitwise_those_that_are_loaded_alone(tmp_path: Path, name: str) -> None:
    """Every policy, twice and in both directions, so that each one follows several others."""
    context = tiny.context(tmp_path)
    given = policies(build(name, tmp_path / "base"), tmp_path)
    alone = {name: found(Answerer(one, context, 0), tmp_path, "alone") for name, one in given.items()}
    assert len({tuple(one.logprobs) for one in alone.values()}) == len(given), "no two policies are alike"
    together = side_by_side(given, context)
    assert (len({id(one.base) for one in together.values()}) == 1) == (name not in WITH_EXPERTS)
    for turn, order in enumerate(([*together], [*reversed(together)])):
        for policy in order:
            assert found(together[policy], tmp_path, f"turn {turn}") == alone[policy], policy


def test_an_adapter_with_a_norm_on_weights_is_switched_too(tmp_path: Path) -> None:
    """DoRA has one more parameter for each layer."""
    context, base = tiny.context(tmp_path), build("llama", tmp_path / "base")
    dora = {"r": 2, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}
    both = {
        name: adapter(base, tmp_path / name, LoraConfig(**dora), seed=seed) for seed, name in enumerate(("one", "two"))
    }
    alone = {name: found(Answerer(one, context, 0), tmp_path, "alone") for name, one in both.items()}
    together = side_by_side({"base": base, **both}, context)
    assert len({id(one.base) for one in together.values()}) == 1
    assert {name: found(together[name], tmp_path, "together") for name in both} == alone


def test_policies_in_4_bits_share_a_base_in_4_bits(tmp_path: Path) -> None:
    context, base = tiny.context(tmp_path), build("llama", tmp_path / "base", hidden_size=64, intermediate_size=128)
    sft = adapter(base, tmp_path / "sft", LORA, "qlora", 1)
    given = {"base": base, "sft": sft, "dpo": adapter(sft, tmp_path / "dpo", PeftConfig("lora", rank=2), "qlora", 2)}
    alone = {name: found(Answerer(one, context, 0), tmp_path, "alone") for name, one in given.items()}
    groups: dict[int, list[str]] = {}
    for name, answerer in answerers_on_bases(given, context, 0, last="sft"):
        assert found(answerer, tmp_path, "together") == alone[name]
        groups.setdefault(id(answerer.base), []).append(name)
    assert [*groups.values()] == [["base"], ["dpo", "sft"]]


def pissa(base: Artifact, folder: Path) -> Artifact:
    """peft takes the adapter's start out of the base model's weights when it loads this one."""
    return adapter(base, folder, LoraConfig(r=2, init_lora_weights="pissa", target_modules=["q_proj"]))


def biases(base: Artifact, folder: Path) -> Artifact:
    """peft writes trained biases into the base model."""
    return adapter(base, folder, LoraConfig(r=2, bias="all", target_modules=["q_proj"]))


def embeddings(base: Artifact, folder: Path) -> Artifact:
    """peft writes embeddings that were saved beside an adapter into the base model."""
    made = adapter(base, folder, LORA)
    file = folder / "model" / "adapter_model.safetensors"
    own = load_file(base.path / "model.safetensors")["model.embed_tokens.weight"]
    key = "base_model.model.model.embed_tokens.weight"
    save_file({**load_file(file), key: own + 1}, file, metadata={"format": "pt"})
    return made


def prefix(base: Artifact, folder: Path) -> Artifact:
    return adapter(base, folder, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), "prefix")


def replaced(base: Artifact, folder: Path) -> Artifact:
    """peft would put the other policy's adapter inside this one's copy of the layer, without that one's weights."""
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["mlp"], task_type="CAUSAL_LM")
    return adapter(base, folder, config)


def unknown(base: Artifact, folder: Path) -> Artifact:
    """peft leaves out fields that it does not know."""
    made = adapter(base, folder, LORA)
    file = folder / "model" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "of_tomorrow": 1}))
    return made


@pytest.mark.parametrize("make", [pissa, biases, embeddings, prefix, replaced, unknown])
def test_an_adapter_that_would_change_others_has_a_base_of_its_own(
    tmp_path: Path, make: Callable[[Artifact, Path], Artifact]
) -> None:
    context, base = tiny.context(tmp_path), build("llama", tmp_path / "base", attention_bias=True)
    sft = adapter(base, tmp_path / "sft", LORA, seed=1)
    given = {"base": base, "strange": make(base, tmp_path / "strange"), "sft": sft}
    alone = {name: found(Answerer(one, context, 0), tmp_path, "alone") for name, one in given.items()}
    answerers = side_by_side(given, context)
    assert answerers["sft"].base is not answerers["strange"].base
    for name, answerer in answerers.items():
        assert found(answerer, tmp_path, "together") == alone[name], name


def test_more_than_ten_adapters_are_told_apart(tmp_path: Path) -> None:
    """Their names begin alike, and peft looks for names in parts of longer ones."""
    context, base = tiny.context(tmp_path), build("llama", tmp_path / "base")
    first = adapter(base, tmp_path / "0", LORA)
    given = {"0": first}
    for number in range(1, 12):
        folder = shutil.copytree(first.path, tmp_path / str(number))
        file = folder / "model" / "adapter_model.safetensors"
        weights = {name: value * (1 + number / 10) for name, value in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})
        given[str(number)] = Artifact("sft", str(number), folder, first.manifest, first.inputs)
    together = side_by_side(given, context)
    assert len({id(one.base) for one in together.values()}) == 1
    for name in ("10", "1", "11"):
        assert found(together[name], tmp_path, "together") == found(
            Answerer(given[name], context, 0), tmp_path, "alone"
        )


def test_one_base_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """The answerer of the last base is still named by the loop when the next base is loaded."""
    context = tiny.context(tmp_path)
    first, second = (build("llama", tmp_path / name) for name in ("first", "second"))
    given = {"a": first, "c": second, "b": adapter(first, tmp_path / "b", LORA)}
    order, held = [], []
    for name, answerer in answerers_on_bases(given, context, 0, last="c"):
        order.append(name)
        held.append(answerer)
        assert sum(hasattr(one, "base") for one in held) == (2 if name == "b" else 1)
    assert order == ["a", "b", "c"]


def test_special_tokens_are_those_of_the_policy_in_use(tmp_path: Path) -> None:
    """Two policies on one base can have tokenizers with other tokens for padding and stopping."""
    context, base = tiny.context(tmp_path), build("mamba", tmp_path / "base")  # transformers draws its answers
    sft, other = (adapter(base, tmp_path / name, LORA, seed=1) for name in ("sft", "other"))
    tokenizer, _ = tokenizer_of(source_of(base))
    tokenizer.save_pretrained(other.path / "model")
    together = side_by_side({"base": base, "sft": sft, "other": other}, context)
    for answerer in (*together.values(), *together.values()):
        assert answerer.model.config.pad_token_id == answerer.chat.tokenizer.pad_token_id


@pytest.mark.slow
def test_evaluate_gives_what_it_gives_with_a_base_for_each_policy(
    new_chain: Callable[[], Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = new_chain()
    request = ("peft=lora", "evaluate.policies=[base,sft,dpo]", "evaluate.judge=false")
    shared = chain.make("evaluate", *request)
    monkeypatch.setattr("pipeline.modeling.sharing.can_share", lambda source, others: not others)
    monkeypatch.setattr("pipeline.modeling.answering.can_share", lambda source, others: False)
    alone = chain.make("evaluate", *request, "evaluate.seed=0", "evaluate.prompts=1000")
    assert alone.version != shared.version
    assert {**alone.metrics} == {**shared.metrics}
    assert alone.file("answers.jsonl").read_bytes() == shared.file("answers.jsonl").read_bytes()


@pytest.mark.slow
def test_sample_gives_each_prompt_answers_of_all_policies_in_their_order(chain: Chain, tmp_path: Path) -> None:
    """The first of two policies writes two of three answers; each draws with a seed of its own."""
    made = chain.make("sample", "peft=lora", "sample.policies=[base,sft]", "sample.answers=3")
    rows = read_jsonl(made.file("answers.jsonl"))
    decoding, written = DecodingConfig(**made.manifest["config"]["decoding"]), []
    for seed, (name, share) in enumerate((("base", 2), ("sft", 1))):
        answerer = Answerer(made.inputs[name], tiny.context(tmp_path), seed)
        drawn = answerer.draw([row["prompt"] for row in rows for _ in range(share)], decoding, name)
        written.append([[answer.text for answer in drawn[i * share : (i + 1) * share]] for i in range(len(rows))])
    for row, first, second in zip(rows, *written, strict=True):
        in_order = [*(("base", text) for text in first), ("sft", second[0])]
        distinct = dict.fromkeys(" ".join(text.split()) for _, text in in_order)
        assert [" ".join(answer["text"].split()) for answer in row["answers"]] == [*distinct]
        assert all((answer["policy"], answer["text"]) in in_order for answer in row["answers"])
