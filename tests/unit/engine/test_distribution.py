"""What cannot run in several processes is refused when it is planned, and the version does not depend on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine import distribution, machine
from pipeline.engine.distribution import check_processes
from pipeline.engine.planner import Step
from pipeline.errors import Unplannable
from tests.conftest import configured

SHARED = ("launch.processes=2", "launch.shard=true")


def faults(outputs: Path, *overrides: str, stage: str = "sft") -> list[str]:
    try:
        check_processes(configured(outputs, *overrides), [stage])
    except Unplannable as error:
        return error.faults
    return []


@pytest.mark.parametrize(
    ("overrides", "stage", "said"),
    [
        (["launch.processes=3", "sft.batch_size=32"], "sft", "sft.batch_size=33"),
        (["launch.processes=4", "launch.micro_batch_size=2", "sft.batch_size=16"], "sft", ""),
        (["launch.processes=2", "launch.micro_batch_size=4", "sft.batch_size=12", "peft=lora"], "sft", "6 rows"),
        (["launch.processes=2", "ppo.rollouts=6", "ppo.batch_size=3"], "ppo", "ppo.batch_size=4"),
        (["launch.processes=2", "launch.parallel=2"], "sft", "launch.parallel=2"),
        (["launch.processes=2", "launch.device=mps"], "sft", "Apple"),
        (["launch.processes=2", "dpo.trainer.loss_type=hinge"], "dpo", "TRL computes this loss"),
        (["launch.processes=2", "dpo.trainer.loss_type=[ipo,sft]"], "dpo", ""),
        (["launch.processes=2", "sft.trainer.train_sampling_strategy=group_by_length"], "sft", "one process only"),
        (["launch.processes=2", "sft.packing=true"], "sft", "sft.packing=true"),
        (["sft.batch_size=3"], "sft", ""),
        (["launch.shard=true"], "sft", "launch.processes=8"),
        ([*SHARED, "peft=qlora"], "dpo", "4-bit weights"),
        ([*SHARED, "peft=lora"], "reward", ""),
        ([*SHARED, "peft=full"], "ppo", "peft@ppo.peft=lora"),
        ([*SHARED, "peft=qlora"], "ppo", ""),
        ([*SHARED, "launch.compile=true"], "kto", "launch.compile=false"),
        ([*SHARED, "launch.attn_implementation=flash_attention_2"], "sft", "Use sdpa"),
        ([*SHARED, "peft=qlora"], "evaluate", ""),
        ([*SHARED], "base", ""),
        (["launch=fsdp"], "judge", ""),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    outputs: Path, overrides: list[str], stage: str, said: str
) -> None:
    found = faults(outputs, *overrides, stage=stage)
    assert [said in fault for fault in found] == ([True] if said else [])


def test_each_process_needs_a_gpu_of_its_own(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "gpus", lambda: ["0", "1"])
    assert faults(outputs, "launch.processes=2") == []
    assert "2 can be seen" in faults(outputs, "launch.processes=4")[0]
    assert faults(outputs, "launch.processes=4", "launch.device=cpu") == []


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_accelerate_s_sharding_is_refused(outputs: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Stages would save a process's shard as if it were the model."""
    monkeypatch.setenv(variable, "true")
    assert "launch.shard=true" in faults(outputs, "launch.processes=2")[0]
    assert "launch.shard=true" in faults(outputs, *SHARED)[0]


def test_the_number_of_processes_is_no_part_of_a_version(planned: Callable[..., dict[str, Step]]) -> None:
    one, *others = planned(), planned("launch.processes=2", "launch.data_processes=3"), planned("launch=fsdp")
    versions = [{name: step.version for name, step in steps.items()} for steps in (one, *others)]
    assert versions[1:] == [versions[0]] * 2


def test_several_processes_make_one_stage_at_a_time(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ["0", "1"])
    assert machine.parallel(configured(outputs)) == 2
    assert machine.parallel(configured(outputs, "launch.processes=2")) == 1
