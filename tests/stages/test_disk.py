"""The disk that a plan promises is the disk that a stage takes: its weights, and each of its checkpoints."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.fitting import plan_of
from pipeline.engine.planner import Planner
from pipeline.memory.disk import CHECKPOINTS, disk_of
from pipeline.memory.estimates import held_by
from pipeline.store.artifacts import Store
from tests.conftest import configured
from tests.stages.conftest import Chain

GROUPS = ("ppo.advantage=rloo", "ppo.group=4")  # without a value model
HEADS = 10_000  # bytes of the heads of files
BESIDE = 60_000  # bytes of them, of states of random generators and of the trainer
CASES = [
    ("sft", "full", ()),
    ("sft", "lora", ()),
    *(
        pytest.param(stage, method, own, marks=pytest.mark.slow)
        for stage, own in (("reward", ()), ("ppo", ()), ("ppo", GROUPS))
        for method in ("full", "lora")
    ),
]


def size_of(folder: Path, pattern: str = "*") -> int:
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


@pytest.mark.parametrize(("stage", "method", "own"), CASES)
def test_weights_and_checkpoints_are_as_large_as_planned(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, stage: str, method: str, own: tuple[str, ...]
) -> None:
    request = (f"stage={stage}", f"peft@{stage}.peft={method}", f"{stage}.seed=7", *own)
    config = configured(chain.outputs, *chain.arguments(*request)[1:])
    step = next(step for step in Planner(config, chain.store).plan() if step.name == stage)
    plan = plan_of(step, config, chain.store)
    assert plan is not None
    disk = disk_of(step.config, held_by(step.stage, step.config.peft, config.launch, plan.start, plan.device))
    checkpoints: list[int] = []
    commit = Store.commit

    def watched(self: Store, name: str, version: str, manifest: Any) -> Any:
        if name == stage:
            folder = self.directory(name, version) / "checkpoints"
            checkpoints.extend(size_of(one) for one in folder.glob("checkpoint-*"))
        return commit(self, name, version, manifest)

    monkeypatch.setattr(Store, "commit", watched)
    made = chain.make(stage, *request[1:])
    assert size_of(made.path, "*.safetensors") == pytest.approx(disk.kept, abs=HEADS)
    assert 0 < len(checkpoints) <= CHECKPOINTS
    assert max(checkpoints) == pytest.approx(disk.checkpoint, rel=0.02, abs=BESIDE)
