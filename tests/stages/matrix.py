"""Runs one architecture with one method through all stages that use a model, in this process.

Without commands and hashes: each stage is checked as the planner does, and its function is called on small artifacts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config import compose
from pipeline.config.nodes.learning import RewardSource
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.schema import PipelineConfig, content
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.model_files.checks import check_models
from pipeline.progress import Advance
from pipeline.stage import Runtime, StageContext
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact
from tests.stages.architectures import build

SMALL = (
    *("sft.epochs=1", "sft.batch_size=4", "sft.evaluations=1", "sft.learning_rate=1e-2", "sft.warmup=0"),
    *("dpo.epochs=1", "dpo.batch_size=4", "dpo.evaluations=1", "dpo.learning_rate=1e-12", "dpo.sft_weight=0"),
    *("reward.epochs=1", "reward.batch_size=4", "reward.evaluations=1", "reward.learning_rate=1e-3"),
    *("reward.sft_weight=0", "reward.token_weight=0", "ppo.iterations=1", "ppo.rollouts=4", "ppo.batch_size=4"),
    *(
        "ppo.epochs=1",
        "ppo.max_new_tokens=6",
        "ppo.learning_rate=1e-3",
        "ppo.watch_judge=false",
        "evaluate.decoding.max_new_tokens=6",
    ),
    *("evaluate.policies=[sft]", "evaluate.judge=false", "tracking=off", "labeling=simulated"),
    *("peft.rank=4", "ppo.stop.distinct=0", "ppo.stop.stopped=0"),
)
LENGTH = "def reward(prompts, answers):\n    return [len(answer) / 10 for answer in answers]\n"
ASKED = [f"My {thing} {does}." for thing in ("kettle", "lamp") for does in ("hums", "sings all day at night")]


@cache
def configuration(method: str) -> PipelineConfig:
    return compose.load([*SMALL, f"peft={method}"])


def data(folder: Path) -> Artifact:
    """Write demonstrations, pairs and prompts of different lengths, as the stages `data` and `preferences` do."""
    turns = [[{"role": "user", "content": text}] for text in ASKED]
    said = [[{"role": "assistant", "content": f"Wrap it in wool{', please' * n}."}] for n in range(len(ASKED))]
    worse = [[{"role": "assistant", "content": f"No idea{' at all' * (n % 3)}."}] for n in range(len(ASKED))]
    rows = [{"messages": [*asked, *answer]} for asked, answer in zip(turns, said, strict=True)]
    pairs = [
        {"prompt": asked, "chosen": good, "rejected": bad, "margin": 1.0, "group": str(n)}
        for n, (asked, good, bad) in enumerate(zip(turns, said, worse, strict=True))
    ]
    prompts = [{"prompt": asked, "reference": "Wrap it in wool."} for asked in turns]
    files = {"sft": rows, "dev": rows[:3], "train": pairs, "test": prompts, "rl": prompts}
    folder.mkdir(parents=True)
    for name, content_of in files.items():
        write_jsonl(folder / f"{name}.jsonl", content_of)
    return Artifact("data", "made", folder)


@contextmanager
def _silent(what: str, total: int | None) -> Iterator[Advance]:
    yield lambda done: None


@dataclass
class Laboratory:
    """One architecture with one method; every stage uses the artifacts of the stages before it."""

    name: str
    method: str
    folder: Path

    def __post_init__(self) -> None:
        self.config = configuration(self.method)
        self.base = build(self.name, self.folder / "model")
        self.data = data(self.folder / "data")
        pairs = self.folder / "preferences"
        pairs.mkdir()
        for name in ("train", "test"):
            write_jsonl(pairs / f"{name}.jsonl", read_jsonl(self.data.path / "train.jsonl"))
        self.preferences = Artifact("preferences", "made", pairs)
        self.made: dict[str, Artifact] = {}
        self.said: list[str] = []

    def rewards(self) -> list[RewardSource]:
        """Return PPO's reward: the reward model, or a function if the architecture cannot have one."""
        code = self.folder / "length.py"
        code.write_text(LENGTH)
        return [RewardSource("reward" if "reward" in self.made else f"{code}:reward")]

    def inputs(self, stage: str) -> dict[str, Artifact]:
        """Return the inputs of a stage, with the SFT policy if there is one."""
        policy = self.made.get("sft", self.base)
        return {
            "sft": lambda: {"base": self.base, "data": self.data},
            "dpo": lambda: {"policy": policy, "preferences": self.preferences},
            "reward": lambda: {"policy": policy, "preferences": self.preferences},
            "ppo": lambda: {"policy": policy, "prompts": self.data, **self._scorers()},
            "evaluate": lambda: {"base": self.base, "sft": policy, "data": self.data},
            "export": lambda: {"policy": self.made.get("ppo", self.made.get("dpo", policy))},
        }[stage]()

    def _scorers(self) -> dict[str, Artifact]:
        return {"reward": self.made["reward"]} if "reward" in self.made else {}

    def make(self, stage: str, **changes: Any) -> Artifact:
        """Plan and run one stage, replacing its earlier artifact. Raises `RequestError` if plan or stage refuses it."""
        config, inputs = replace(getattr(self.config, stage), **changes), self.inputs(stage)
        config = replace(config, rewards=self.rewards()) if stage == "ppo" else config
        check_models(config, inputs, STAGES[stage].training, set())
        folder = self.folder / stage
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        metrics = STAGES[stage].run(config, self.context(stage, inputs))
        manifest = {"config": content(config), "metrics": metrics}
        self.made[stage] = Artifact(stage, "made", folder, manifest, inputs)
        return self.made[stage]

    def context(self, stage: str, inputs: Mapping[str, Artifact]) -> StageContext:
        runtime = Runtime(LaunchConfig(device="cpu"), 1, "off")
        return StageContext(
            inputs,
            self.folder / stage,
            runtime,
            _silent,
            self.said.append,
            lambda *_: None,
        )

    def history(self, stage: str) -> list[dict[str, float]]:
        return read_jsonl(self.made[stage].path / "history.jsonl")
