"""What is wrong with a model is said when the plan is made: from its files, without torch, with its name."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.planner import Step
from pipeline.errors import PipelineError, RequestError
from pipeline.model_files import architectures
from pipeline.store.artifacts import Store
from tests.conftest import commit
from tests.unit.model_files.folders import adapter, model, weights, words

Plan = Callable[..., dict[str, Step]]

QUANTIZED = {"quant_method": "bitsandbytes", "load_in_4bit": True}


def refused(planned: Plan, *request: str) -> str:
    with pytest.raises(RequestError) as raised:
        planned(*request)
    return str(raised.value)


FAULTS = {
    "no config": ({"config.json": None}, "no config.json"),
    "config is no JSON": ({"config.json": "{"}, "config.json cannot be read"),
    "an encoder": ({"config": {"model_type": "bert"}}, "not a causal language model"),
    "an encoder-decoder": ({"config": {"model_type": "t5", "is_encoder_decoder": True}}, "not a causal language model"),
    "a decoder of one": ({"config": {"model_type": "bart", "is_encoder_decoder": True}}, "not a causal language model"),
    "a vision model": ({"config": {"model_type": "vit"}}, "not a causal language model"),
    "vision first": ({"config": {"model_type": "llava"}}, "not a causal language model"),
    "padding is text": ({"config": {"model_type": "rwkv"}}, "reads padding like text"),
    "no type": ({"config": {"model_type": None}}, "has no model_type"),
    "an unknown type": ({"config": {"model_type": "llamma"}}, "does not support model_type=llamma"),
    "code of its own": (
        {"config": {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "m.M"}}},
        "trust_remote_code",
    ),
    "quantized": ({"config": {"quantization_config": QUANTIZED}}, "quantized already (bitsandbytes in 4 bits)"),
    "quantized by GPTQ": ({"config": {"quantization_config": {"quant_method": "gptq", "bits": 4}}}, "(gptq in 4 bits)"),
    "quantized to 8 bits": ({"config": {"quantization_config": {"quant_method": "fp8"}}}, "(fp8)"),
    "no tokenizer": ({"tokenizer.json": None}, "no tokenizer"),
    "a tokenizer of its own": (
        {"tokenizer.json": None, "vocab.txt": "a", "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["t.T"]}}},
        "tokenizer is code of its own",
    ),
    "too few rows": ({"tokenizer.json": words(12)}, "12 tokens, and its embeddings have 10 rows"),
    "ids with gaps": (
        {"tokenizer.json": {"model": {"vocab": {"a": 0, "b": 11}}}},
        "2 tokens, and its embeddings have 10 rows",
    ),
    "another tokenizer": ({"tokenizer.json": words(5)}, "10 ids, but its tokenizer knows 5 tokens only"),
    "rows and vocab_size": ({"weights": weights(rows=11)}, "11 rows, and its config.json has vocab_size=10"),
    "a layer is missing": ({"weights": weights(layers=1)}, "weights of layer 1 are missing"),
    "no weights": ({"weights": None}, "no weights in this folder"),
    "pickled weights": ({"weights": None, "pytorch_model.bin": "x"}, "save_pretrained"),
    "shards are missing": (
        {"weights": None, "model.safetensors.index.json": {"weight_map": {"a": "model-00001-of-00002.safetensors"}}},
        "model-00001-of-00002.safetensors",
    ),
    "a template that raises": (
        {"chat_template.jinja": "{{ raise_exception('only for tools') }}"},
        "cannot render a question and its answer (only for tools)",
    ),
    "a template that does not parse": (
        {"tokenizer_config.json": {"chat_template": "{% for message in messages %}"}},
        "cannot render a question",
    ),
    "a template without answers": (
        {"chat_template.jinja": "{{ messages[0]['content'] }}"},
        "leaves out the assistant's text",
    ),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_said_with_the_models_name(
    planned: Plan, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = model(tmp_path / "brought", **changes)
    said = refused(planned, "stage=sft", f"model.path={folder}")
    assert str(folder) in said
    assert message in said


@pytest.mark.parametrize(
    "request_",
    [
        "stage=sft sft.inputs.base={folder}",
        "stage=dpo model.path={folder} labeling=simulated",
        "stage=reward reward.inputs.policy={folder}",
        "stage=ppo ppo.inputs.policy={folder}",
        "stage=sample sample.policies=[sft,{folder}]",
        "stage=draft draft.writer={folder}",
        "stage=evaluate evaluate.policies=[{folder},sft]",
        "stage=export export.policy={folder}",
    ],
)
def test_a_fault_is_said_wherever_the_model_is_named(planned: Plan, tmp_path: Path, request_: str) -> None:
    folder, data = model(tmp_path / "brought", {"model_type": "bert"}), tmp_path / "data.jsonl"
    data.write_text('{"instruction": "greet", "output": "hello"}\n')
    said = refused(planned, *request_.format(folder=folder, data=data).split())
    assert str(folder) in said
    assert "not a causal language model" in said


def test_a_sound_model_is_planned(planned: Plan, tmp_path: Path) -> None:
    folder = model(tmp_path / "sound")
    assert "sft" in planned("stage=sft", f"model.path={folder}")
    assert planned("stage=sft", f"sft.inputs.base={folder}")["sft"].inputs["base"].path == folder  # type: ignore[union-attr]


def test_a_template_of_ones_own_stands_in_for_one_that_raises(planned: Plan, tmp_path: Path) -> None:
    folder = model(tmp_path / "brought", **{"chat_template.jinja": "{{ raise_exception('never') }}"})
    own, poor = tmp_path / "own.jinja", tmp_path / "poor.jinja"
    own.write_text("{{ bos_token }}{% for m in messages %}{{ m['content'][0]['text'] }}{{ eos_token }}{% endfor %}")
    poor.write_text("{{ raise_exception('again') }}")
    assert "sft" in planned("stage=sft", f"model.path={folder}", f"model.chat_template={own}")
    assert "(again)" in refused(planned, "stage=sft", f"model.path={folder}", f"model.chat_template={poor}")


def test_a_cut_off_file_is_noticed(planned: Plan, tmp_path: Path) -> None:
    file = model(tmp_path / "cut") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    assert "model.safetensors is damaged or cut off" in refused(planned, "stage=sft", f"model.path={tmp_path / 'cut'}")


def test_special_tokens_that_nothing_leads_to_need_no_embedding(planned: Plan, tmp_path: Path) -> None:
    """Gemma 3 of 1B has a token for images one past its embeddings; a template that uses it is another matter."""
    fine = model(tmp_path / "fine", **{"tokenizer.json": words(10, ("<image>",))})
    assert "sft" in planned("stage=sft", f"model.path={fine}")
    template = {"tokenizer.json": words(10, ("<image>",)), "chat_template.jinja": "{{ '<image>' }}"}
    used = model(tmp_path / "used", **template)
    assert "'<image>' has none" in refused(planned, "stage=sft", f"model.path={used}")


def test_a_vocabulary_that_is_filled_up_is_no_fault(planned: Plan, tmp_path: Path) -> None:
    padded = model(
        tmp_path / "padded", {"vocab_size": 104}, weights=weights(rows=104), **{"tokenizer.json": words(100)}
    )
    assert "sft" in planned("stage=sft", f"model.path={padded}")


# -- adapters and reward models


def test_an_adapter_is_known_by_its_base(planned: Plan, tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    good = adapter(tmp_path / "good", base_model_name_or_path=str(base))
    assert "dpo" in planned("stage=dpo", f"dpo.inputs.policy={good}")
    for name, said, message in (
        ("none", {"base_model_name_or_path": None}, "the model under this adapter is unknown"),
        ("gone", {"base_model_name_or_path": "/nowhere/base"}, "the model under this adapter is unknown"),
        ("prefix", {"peft_type": "PREFIX_TUNING"}, "only LoRA"),
        ("ends", {"target_modules": ["q_proj", "embed_tokens"]}, "also trains embed_tokens"),
        ("saved", {"modules_to_save": ["lm_head"]}, "also trains lm_head"),
    ):
        folder = adapter(tmp_path / name, **{"base_model_name_or_path": str(base), **said})
        assert message in refused(planned, "stage=dpo", f"dpo.inputs.policy={folder}")
    (base / "tokenizer.json").unlink()
    assert str(base) in refused(planned, "stage=dpo", f"dpo.inputs.policy={good}")
    assert "sft.inputs.base=FOLDER" in refused(planned, "stage=sft", f"model.path={good}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "a language model, not a reward model"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "it has 2 labels"),
        (
            {"architectures": ["T5GemmaForSequenceClassification"], "model_type": "own", "id2label": {"0": "a"}},
            "no sequence classification for model_type=own",
        ),
    ],
)
def test_a_reward_model_says_one_number(planned: Plan, tmp_path: Path, config: Any, message: str) -> None:
    folder = model(tmp_path / "scorer", config)
    said = refused(planned, "stage=ppo", f"ppo.rewards=[{{source:{folder}}}]")
    assert str(folder) in said
    assert message in said


def test_a_reward_model_of_ones_own_is_planned(planned: Plan, tmp_path: Path) -> None:
    one = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    folder = model(tmp_path / "scorer", one)
    assert "ppo" in planned("stage=ppo", f"ppo.rewards=[{{source:{folder}}}]")


# -- what an architecture cannot do


@pytest.mark.parametrize(
    ("config", "request_", "message"),
    [
        ({"model_type": "falcon"}, "stage=sft peft=qlora", "the linear layers of falcon cannot be quantized"),
        ({"model_type": "mixtral", "num_local_experts": 4}, "stage=sft peft=lora peft.dropout=0.1", "peft.dropout=0"),
        (
            {"model_type": "mamba"},
            "stage=ppo ppo.watch_judge=false ppo.rewards=[{source:own.py:reward}]",
            "PPO cannot sample from mamba",
        ),
        ({"model_type": "mamba"}, "stage=ppo", "mamba cannot carry a reward model's head"),
    ],
)
def test_what_an_architecture_cannot_do_is_said_before_any_stage_runs(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, request_: str, message: str
) -> None:
    """The stage that cannot do it may stand far above the model, and others lie between."""
    folder = model(tmp_path / "brought", config)
    (tmp_path / "own.py").write_text("")
    monkeypatch.chdir(tmp_path)
    said = refused(planned, *request_.split(), f"model.path={folder}")
    assert str(folder) in said
    assert message in said
    assert "sft" in planned("stage=sft", f"model.path={folder}")


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head", "model.embed_tokens", "wte"])
def test_adapters_lie_between_the_ends_of_a_model(planned: Plan, target: str) -> None:
    targets = f"dpo.peft.target_modules='q_proj,{target}'"
    assert f"{target} is the model's embedding or head" in refused(planned, "stage=dpo", "peft=lora", targets)
    assert "dpo" in planned("stage=dpo", "peft=full", targets)  # then there are no adapters


def test_a_policy_that_was_made_here_is_not_looked_at_again(planned: Plan, store: Store) -> None:
    commit(store, "sft", "abcd")
    assert "dpo" in planned("stage=dpo", "dpo.inputs.policy=sft@abcd")


# -- the hub


def cached(cache: Path, repository: str, files: Path) -> None:
    """A repository in the hub's cache."""
    commit_ = "0123456789abcdef0123456789abcdef01234567"
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit_)
    (place / "snapshots").mkdir()
    files.rename(place / "snapshots" / commit_)


def test_a_model_of_the_hub_is_looked_at_as_far_as_it_is_here(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights may not be downloaded yet: configuration and tokenizer are what can be known."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached(tmp_path / "cache", "owner/sound", model(tmp_path / "sound", weights=None))
    cached(tmp_path / "cache", "owner/encoder", model(tmp_path / "encoder", {"model_type": "bert"}))
    assert "sft" in planned("stage=sft", "model=hub", "model.path=owner/sound")
    said = refused(planned, "stage=sft", "model=hub", "model.path=owner/encoder")
    assert "owner/encoder: model_type=bert is not a causal language model" in said


def test_a_gated_model_says_how_to_log_in(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub tells everybody the commit of a gated repository, and its files to those who have been let in."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def gated(*args: Any, **named: Any) -> None:
        raise GatedRepoError("gated", response=httpx2.Response(403, request=httpx2.Request("GET", "https://h")))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    revision = "model.revision=0123456789abcdef0123456789abcdef01234567"
    said = refused(planned, "stage=sft", "model=hub", "model.path=owner/gated", revision)
    assert "owner/gated" in said
    assert "hf auth login" in said


# -- what is read from transformers


def test_the_tables_are_those_of_the_installed_transformers() -> None:
    from transformers.models.auto import auto_mappings, modeling_auto

    for module, (file, name) in (
        (auto_mappings, architectures.CONFIGS),
        *((modeling_auto, one) for one in (architectures.CAUSAL, architectures.MASKED, architectures.CLASSIFIERS)),
        (modeling_auto, architectures.BODIES),
    ):
        read = architectures.table(file, name)
        imported = getattr(module, name)
        assert dict(read).items() <= dict(imported).items()
        assert len(read) >= len(imported) - 12  # those that transformers adds when it is imported


def test_a_plan_needs_no_torch(tmp_path: Path) -> None:
    folder = model(tmp_path / "brought", {"model_type": "bert"})
    code = (
        "import sys\nfrom pipeline.config import compose\nfrom pipeline.store.artifacts import Store\n"
        "from pipeline.engine.planner import Planner\nfrom pathlib import Path\n"
        f"config = compose.load(['outputs={tmp_path}/out', 'stage=sft', 'model.path={folder}'])\n"
        "try: Planner(config, Store(Path(config.outputs), config.project)).plan()\n"
        "except Exception as error: print(type(error).__name__, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["Unplannable", "False"]
    assert issubclass(RequestError, PipelineError)
