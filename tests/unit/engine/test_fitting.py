"""The memory plan of a request: what it counts, what it shows, what it refuses, and what would make it fit."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.engine import fitting, machine, remedies
from pipeline.engine.fitting import Plan, lines_of, plan_of, refusal
from pipeline.engine.planner import Planner
from pipeline.errors import RequestError
from pipeline.memory.estimates import Device, Longest, Start, memory_of
from pipeline.stages import STAGES
from pipeline.store.artifacts import Store
from tests.conftest import commit, configured, finish
from tests.unit.memory.folders import small_model
from tests.unit.memory.known_models import shape_named
from tests.unit.model_files.folders import model

GIB = 2**30
Free = Callable[[float | None], None]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine.free_memory.cache_clear()
    yield
    machine.free_memory.cache_clear()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Sets the free memory of this machine, in bytes."""
    return lambda size: monkeypatch.setattr(fitting, "free_memory", lambda device: size)


def plans(outputs: Path, *overrides: str) -> dict[str, Plan | None]:
    config = configured(outputs, *overrides)
    store = Store(outputs, config.project)
    return {step.name: plan_of(step, config, store) for step in Planner(config, store).plan()}


def user(tmp_path: Path, *more: str) -> list[str]:
    """A request with a model and files of a user's own."""
    folder = tmp_path / "model"
    if not folder.is_dir():
        small_model(folder)
        (tmp_path / "rows.jsonl").write_text('{"instruction": "greet", "output": "hello"}\n')
    pairs = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pairs) + "\n")
    files = (
        f"data.path={tmp_path / 'rows.jsonl'}",
        f"labeling.path={tmp_path / 'pairs.jsonl'}",
    )
    return [f"model.path={folder}", *files, "project=own", "tracking=off", *more]


def test_every_stage_that_loads_a_model_has_a_plan(outputs: Path) -> None:
    found = plans(outputs)
    expected = {"sft", "sample", "dpo", "reward", "judge", "ppo", "evaluate"}
    assert {name for name, plan in found.items() if plan} == expected
    trained = {name for name, stage in STAGES.items() if "peft" in stage.config.__dataclass_fields__}
    assert {name for name, stage in STAGES.items() if stage.rows} == trained | {"sample", "evaluate"}
    sizes = {plan.start.shape.parameters for plan in found.values() if plan}
    assert len(sizes) == 1, "the embedded base"


def test_policies_that_share_a_base_are_planned_with_the_adapters_of_all(tmp_path: Path, outputs: Path) -> None:
    """An adapter below several policies counts once; a model that is trained whole has none of the others'."""
    compared = "evaluate.policies=[base,sft,dpo]"
    alone, both = (
        _below(plans(outputs, *user(tmp_path, "stage=evaluate", "peft=lora", "evaluate.baseline=sft", policies)))
        for policies in ("evaluate.policies=[base,sft]", compared)
    )
    assert both == 2 * alone > 0
    whole = plans(outputs, *user(tmp_path, "stage=evaluate", "peft=lora", "peft@sft.peft=full", compared))
    assert _below(whole) == alone, "the adapter of dpo, on the model that sft trained"
    apart = plans(outputs, *user(tmp_path, "stage=evaluate", "peft=lora", "peft@dpo.peft=qlora", compared))
    assert _below(apart) == both, "in 4 bits dpo has a base of its own, with both adapters"


def _below(found: dict[str, Plan | None]) -> int:
    plan = found["evaluate"]
    assert plan is not None
    return plan.start.below


def test_the_longest_row_is_counted_once_the_data_is_there(tmp_path: Path, outputs: Path) -> None:
    """With the model's own tokenizer: five words are five tokens, and each turn has eight more from the template."""
    request = user(tmp_path)
    before = plans(outputs, *request)["sft"]
    assert before is not None
    assert (before.read, before.longest.row) == (False, 1024)
    config = configured(outputs, *request)
    store = Store(outputs, config.project)
    data = next(step for step in Planner(config, store).plan() if step.name == "data")
    rows = [["w1", "w2 w3 w4 w5"], ["w1 w2", "w3"]]
    lines = [
        json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}) for q, a in rows
    ]
    commit(store, "data", data.version, files={"sft.jsonl": "\n".join(lines) + "\n"})
    after = plans(outputs, *request)["sft"]
    assert after is not None
    assert (after.read, after.longest.row, after.longest.predicted) == (True, 5 + 2 * 8, 4 + 8)
    assert after.memory.total < before.memory.total


def test_a_ranking_s_answers_go_through_a_reward_model_together(outputs: Path) -> None:
    def pair(prompt: str, chosen: str, rejected: str) -> str:
        turns = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
        row = {name: [{"role": role, "content": text}] for name, (role, text) in turns.items()}
        return json.dumps({**row, "margin": 1.0, "group": prompt})

    lines = [pair("p", a, b) for a, b in (("a", "b"), ("a", "c"), ("b", "c"))] + [pair("q", "a", "b")]
    config = configured(outputs, "labeling=simulated")
    store = Store(outputs, config.project)
    for step in Planner(config, store).plan():
        if step.name == "preferences":
            files = {name: "\n".join(lines) + "\n" for name in ("train.jsonl", "judge.jsonl")}
            commit(store, step.name, step.version, files=files)
            break
        finish(store, step)
    found = plans(outputs, "labeling=simulated")
    assert found["reward"] is not None
    assert found["dpo"] is not None
    assert (found["reward"].longest.answers, found["reward"].read) == (3, True)
    assert "rows of" in fitting.rows_text(found["dpo"])


def test_adapters_below_and_the_precision_of_a_model_that_was_trained_whole(tmp_path: Path, outputs: Path) -> None:
    request = user(tmp_path, "model.dtype=bfloat16")
    lora = plans(outputs, *request, "peft=lora")["dpo"]
    whole = plans(outputs, *request, "peft=lora", "peft@sft.peft=full")["dpo"]
    qlora = plans(outputs, *request, "peft=lora", "peft@sft.peft=qlora")["dpo"]
    assert lora is not None
    assert whole is not None
    assert qlora is not None
    assert (lora.start.precision, lora.start.below) == (2, lora.start.shape.adapter(16)), "of SFT"
    assert (whole.start.precision, whole.start.below) == (4, 0), "a CPU uses what was trained whole as it was saved"
    assert qlora.start.quantized


def test_an_architecture_that_is_not_known_has_no_plan_and_says_so(
    tmp_path: Path, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = user(tmp_path)
    request[0] = f"model.path={model(tmp_path / 'other', {'model_type': 'gpt2', 'architectures': ['GPT2LMHeadModel']})}"
    assert plans(outputs, *request)["sft"] is None
    assert main([*request, f"outputs={outputs}", "plan=true", "stage=sft"]) == 0
    assert "memory is not planned: the architecture" in capsys.readouterr().out


def test_a_plan_shows_parameters_parts_and_whether_it_fits(
    outputs: Path, free: Free, capsys: pytest.CaptureFixture[str]
) -> None:
    free(64 * GIB)
    assert main([f"outputs={outputs}", "plan=true", "labeling=simulated", "stage=sft", "peft=lora"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1\.1 M parameters, \d+\.\d M|\d+,\d+ trained; up to 4,096 tokens a step", out)
    assert re.search(r"fits in 64\.0 GB free on this machine: \d+ MB at the peak \(\w+\): libraries .*, act", out)


def test_a_prefix_is_planned_with_its_own_weights(outputs: Path) -> None:
    """20 keys and 20 values of 192 numbers in each of two layers; below `sample` they are weights that are held."""
    found = plans(outputs, "labeling=simulated", "peft@sft.peft=prefix", "stage=sample")
    sft, sample = found["sft"], found["sample"]
    assert sft is not None
    assert sample is not None
    assert "15,360 trained" in next(lines_of(sft, configured(outputs, "peft@sft.peft=prefix")))
    assert sft.memory.phases["update"]["optimizer"] == 8 * 15_360
    assert sample.start.below == 15_360


def test_a_run_that_cannot_fit_is_refused_before_anything_starts(
    outputs: Path, free: Free, capsys: pytest.CaptureFixture[str]
) -> None:
    free(GIB // 4)
    request = [f"outputs={outputs}", "labeling=simulated", "tracking=off", "stage=sft"]
    assert main(request) == 2
    told = capsys.readouterr().err
    assert "sft cannot fit: it needs about" in told
    assert "launch.force=true" in told
    assert not list((outputs / "playground").glob("*/*/manifest.json"))
    assert main([*request, "plan=true"]) == 0, "a plan shows it"
    assert "does not fit in" in capsys.readouterr().out


def test_force_runs_it_all_the_same(outputs: Path, free: Free) -> None:
    free(GIB // 4)
    config = configured(outputs, "labeling=simulated", "launch.force=true")
    store = Store(outputs, config.project)
    steps = {step.name: step for step in Planner(config, store).plan()}
    for step in steps.values():
        fitting.check_fits(step, config, store)
    config.launch.force = False
    with pytest.raises(RequestError, match="sft cannot fit"):
        fitting.check_fits(steps["sft"], config, store)


def test_rows_that_are_not_there_yet_refuse_nothing_by_their_assumed_length(tmp_path: Path, outputs: Path) -> None:
    """A thousand tokens are an assumption: only what no row could make fit is refused."""
    plan = plans(outputs, *user(tmp_path))["sft"]
    assert plan is not None
    assert not plan.read
    assert plan.least.total < plan.memory.total
    assert not plan.cannot_fit


def test_several_processes_share_the_rows_and_on_a_cpu_the_memory(outputs: Path) -> None:
    """Each has a whole model and a copy of the gradients that are exchanged; a GPU holds one of them."""
    config, start = configured(outputs, "labeling=simulated", "peft=full"), Start(shape_named("smollm2_135m"), 4)
    longest = Longest(512, 256, 256)

    def parts(count: int, device: Device) -> dict[str, float]:
        launch = replace(config.launch, processes=count)
        return dict(memory_of(STAGES["sft"], config.sft, launch, start, longest, device).phases["loss"])

    one, gpu, cpu = parts(1, "cuda"), parts(2, "cuda"), parts(2, "cpu")
    assert gpu["weights"] == one["weights"]
    assert gpu["activations"] == pytest.approx(one["activations"] / 2)
    assert gpu["exchanged gradients"] == 4 * start.shape.parameters
    assert cpu["weights"] == 2 * one["weights"]


def test_processes_that_share_a_model_divide_it_and_hold_two_layers_whole(outputs: Path) -> None:
    """What lies outside the layers (embeddings, head, last norm) is whole besides, and so are its gradients."""
    overrides = ("labeling=simulated", "peft=full", "launch=fsdp", "launch.processes=8", "launch.micro_batch_size=1")
    shape = shape_named("llama3_1_8b")
    config, start = configured(outputs, *overrides), Start(shape, 2, half=True)
    alone = replace(config.launch, processes=1, shard=False)
    one, eight = (
        memory_of(STAGES["sft"], config.sft, launch, start, Longest(512, 256, 256), "cuda")
        for launch in (alone, config.launch)
    )
    outside, layer = 2 * shape.embeddings, shape.linear / shape.layers
    parts = eight.phases["layers"]
    for shared in ("weights", "optimizer"):
        assert parts[shared] == one.phases["layers"][shared] / 8
    assert parts["gathered weights"] == pytest.approx(4 * (outside + 2 * layer), rel=1e-3)
    assert parts["gradients"] == pytest.approx(4 * (shape.parameters / 8 + outside), rel=1e-3)
    assert one.total > 128 * 1e9
    assert eight.total < 60 * GIB


def test_an_unknown_amount_of_free_memory_refuses_nothing(outputs: Path, free: Free) -> None:
    free(None)
    config = configured(outputs, "labeling=simulated")
    store = Store(outputs, config.project)
    step = next(step for step in Planner(config, store).plan() if step.name == "sft")
    plan = plan_of(step, config, store)
    assert plan is not None
    assert (plan.fits, plan.cannot_fit) == (None, False)
    assert "cannot be asked" in list(lines_of(plan, config))[-1]


# -- what makes it fit -------------------------------------------------------------------------------------------------

LLAMA = Start(shape_named("llama3_1_8b"), precision=2, half=True)
LONGEST = Longest(row=1024, prompt=512, new=512)
EIGHT, SHARED = ("launch.processes=8", "launch.micro_batch_size=1"), ("launch.shard=true",)


def remedy(outputs: Path, gigabytes: float, stage: str, *overrides: str) -> str | None:
    config = configured(outputs, *overrides)
    node = getattr(config, stage)
    return remedies.remedy(STAGES[stage], node, config, LLAMA, LONGEST, "cuda", gigabytes * GIB)


@pytest.mark.parametrize(
    ("gigabytes", "stage", "overrides", "expected"),
    [
        (80, "sft", ("peft=lora",), "launch.micro_batch_size=4"),
        (40, "sft", ("peft=lora", "launch.micro_batch_size=2"), "launch.micro_batch_size=1"),
        (24, "sft", ("peft=lora", "launch.micro_batch_size=1"), "launch.gradient_checkpointing=true"),
        (10, "sft", ("peft=lora",), "peft=qlora launch.micro_batch_size=1 launch.gradient_checkpointing=true"),
        (10, "dpo", ("peft=qlora", "launch.micro_batch_size=1"), "launch.gradient_checkpointing=true"),
        (20, "evaluate", (), "launch.batch_tokens=16384"),
        (4, "sft", ("peft=qlora",), None),
        (80, "sft", ("peft=full", *EIGHT), "launch.shard=true"),
        (80, "ppo", ("peft=full", *EIGHT), "peft=lora"),
        (10, "sft", ("peft=full", *EIGHT, *SHARED), "peft=lora launch.gradient_checkpointing=true"),
        (4, "sft", ("peft=full", *EIGHT, *SHARED), None),
    ],
)
def test_the_mildest_change_that_fits_is_named(
    outputs: Path, gigabytes: float, stage: str, overrides: tuple[str, ...], expected: str | None
) -> None:
    request = ("model=hub", "model.path=a/b", "data.path=a.jsonl", "labeling.path=b.jsonl", *overrides)
    assert remedy(outputs, gigabytes, stage, *request) == expected


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward", "ppo", "evaluate"])
def test_with_the_named_change_it_fits(outputs: Path, stage: str) -> None:
    """The change is written as an override, composes, and leaves less than what is free."""
    request = ["model=hub", "model.path=a/b", "data.path=a.jsonl", "labeling.path=b.jsonl", "launch=small_gpu"]
    found = remedy(outputs, 24, stage, *request)
    assert found is not None
    config = configured(outputs, *request, *found.split())
    memory = memory_of(STAGES[stage], getattr(config, stage), config.launch, LLAMA, LONGEST, "cuda")
    assert memory.total <= 24 * GIB


def test_a_refusal_names_the_change(tmp_path: Path, outputs: Path, free: Free) -> None:
    config = configured(outputs, *user(tmp_path, "launch.device=cpu"))
    store = Store(outputs, config.project)
    step = next(step for step in Planner(config, store).plan() if step.name == "sft")
    free(1e6)
    plan = plan_of(step, config, store)
    assert plan is not None
    assert plan.cannot_fit
    assert "No setting makes it fit" in refusal(plan, config)


# -- the machine -------------------------------------------------------------------------------------------------------


def test_a_gpu_s_free_memory_comes_from_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 1024'\necho '1, 40960'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine.free_memory("cuda") == GIB
    machine.free_memory.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert machine.free_memory("cuda") == 40 * GIB
    machine.free_memory.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    assert machine.free_memory("cuda") is None
