"""What a plan says about time and disk: from an earlier version like it on this machine, or that it is not known."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.schema import content
from pipeline.engine.durations import cost_lines, disk_text, expected_duration
from pipeline.engine.fitting import plan_of
from pipeline.engine.planner import Planner, Step
from pipeline.memory.disk import Disk
from pipeline.store.artifacts import Store
from tests.conftest import commit, configured, finish

ROW = '{"messages": [{"role": "user", "content": "hum"}, {"role": "assistant", "content": "ho"}]}\n'
PROMPT = '{"prompt": [{"role": "user", "content": "hum"}]}\n'


def made(outputs: Path, stage: str, *overrides: str, rows: int = 10, **changes: Any) -> None:
    """Finish a stage that took 100 s, and all that it needs, as the pipeline records it; `changes` of its manifest."""
    config = configured(outputs, *overrides)
    store = Store(outputs, config.project)
    for step in Planner(config, store).plan():
        if store.is_complete(step.name, step.version):
            continue
        if step.name == "data":
            commit(store, "data", step.version, files={"sft.jsonl": ROW * rows, "preference.jsonl": PROMPT * rows})
        elif step.name != stage:
            finish(store, step)
        else:
            with store.writing(step.name, step.version) as folder:
                (folder / "payload.txt").write_text("x")
                store.commit(step.name, step.version, {**manifest(step, config), **changes})


def manifest(step: Step, config: Any) -> Mapping[str, Any]:
    inputs = {role: {"stage": given.name, "version": given.version} for role, given in step.inputs.items()}
    packing = {"packing": step.config.packing} if hasattr(step.config, "packing") else {}
    return {
        **{"seconds": 100.0, "resumed": False, "config": content(step.config), "inputs": inputs, "metrics": {}},
        **{"runtime": {**asdict(config.launch), **packing}, "host": {"name": platform.node()}},
    }


def expected(outputs: Path, stage: str, *overrides: str, rows: int = 10) -> float | None:
    config = configured(outputs, *overrides)
    store = Store(outputs, config.project)
    for step in Planner(config, store).plan():
        if step.name == "data" and not step.complete and rows:
            commit(store, "data", step.version, files={"sft.jsonl": ROW * rows, "preference.jsonl": PROMPT * rows})
    step = next(step for step in Planner(config, store).plan() if step.name == stage)
    plan = plan_of(step, config, store)
    assert plan is not None
    found = expected_duration(step, plan.start, config, store)
    return found.seconds if found else None


OTHER = "data.world.demonstrations=77"  # another version of the data


@pytest.mark.parametrize(
    ("stage", "overrides", "rows", "seconds"),
    [
        ("sft", ("sft.learning_rate=0.5",), 10, 100),
        ("sft", ("sft.epochs=6",), 10, 300),
        ("sft", (OTHER,), 20, 200),
        ("sft", (OTHER, "sft.epochs=1"), 20, 100),
        ("sample", ("sample.answers=8",), 10, 200),
        ("sample", ("sample.prompts=5",), 10, 50),
        ("sample", ("sample.decoding.temperature=0.5",), 10, None),
        ("sft", (OTHER,), 0, None),
        ("sft", ("peft=lora",), 10, None),
        ("sft", ("sft.batch_size=8",), 10, None),
        ("sft", ("sft.packing=true", "sft.seed=1"), 10, None),
        ("sft", ("launch.micro_batch_size=2", "sft.seed=1"), 10, None),
        ("sft", ("base.hidden_size=384",), 10, None),
        ("ppo", ("ppo.iterations=25",), 10, 50),
        ("ppo", ("ppo.group=4",), 10, 100),
        ("ppo", ("ppo.group=4", "ppo.advantage=rloo"), 10, None),
        ("ppo", ("ppo.value_warmup=5",), 10, None),
    ],
)
def test_time_follows_an_earlier_version_of_equal_work_per_row(
    outputs: Path, stage: str, overrides: tuple[str, ...], rows: int, seconds: float | None
) -> None:
    """The playground's SFT has two epochs; `sample` draws four answers to each prompt."""
    made(outputs, stage)
    assert expected(outputs, stage, *overrides, rows=rows) == (seconds and pytest.approx(seconds))


@pytest.mark.parametrize(
    "change", [{"resumed": True}, {"resumed": None}, {"host": {"name": "elsewhere"}}, {"host": {}}]
)
def test_a_resumed_run_and_another_machine_tell_nothing(outputs: Path, change: dict[str, Any]) -> None:
    made(outputs, "sft", **change)
    assert expected(outputs, "sft", "sft.epochs=6") is None


def test_a_plan_says_both(outputs: Path) -> None:
    """1.1 M float32 weights, and three checkpoints of three times as much."""
    made(outputs, "sft", "labeling=simulated")
    config = configured(outputs, "labeling=simulated", "sft.epochs=6", "stage=sft")
    store = Store(outputs, config.project)
    steps = {step.name: step for step in Planner(config, store).plan()}
    plan = plan_of(steps["sft"], config, store)
    assert plan is not None
    disk, time = cost_lines(plan, config, store)
    assert disk.startswith("disk: weights of 4 MB, checkpoints of up to 37 MB; ")
    assert time.startswith("about 5 min 00 s: sft@")
    assert time.endswith(" took 100 s")
    assert "too little" in disk_text(Disk(kept=4.0, checkpoint=2.0), free=9.0)
    assert "too little" not in disk_text(Disk(kept=4.0, checkpoint=2.0), free=10.0)
