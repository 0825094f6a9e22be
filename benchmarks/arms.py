"""Reward models and DPO policies of the playground, trained on given pairs: what the benchmarks about labels share."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

from labeling.records import Task
from pipeline.__main__ import main
from pipeline.config import compose
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import Preference, read_jsonl, write_jsonl
from pipeline.modeling.answering import Answer, Answerer
from pipeline.modeling.rewards.scoring import RewardModel
from pipeline.playground.scorer import true_score
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.stages import dpo, reward
from pipeline.stages.collect import quality
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PROJECT = "labels"
Sample = Mapping[str, Any]


class Playground:
    """The playground's SFT policy, its answers to all prompts, and what is trained on labels of these."""

    def __init__(self, outputs: Path) -> None:
        base = [f"outputs={outputs}", f"project={PROJECT}", "labeling=simulated", "tracking=off", "launch.parallel=1"]
        if status := main(["stage=sample", *base]):
            raise SystemExit(status)
        store = Store(outputs, PROJECT)
        self.folder = outputs / PROJECT / "arms"
        self.sft = store.open(*store.resolve("sft"))
        self.samples: Sequence[Sample] = read_jsonl(store.open(*store.resolve("sample")).file("answers.jsonl"))
        self.test_prompts = [row["prompt"] for row in read_jsonl(store.open(*store.resolve("data")).file("test.jsonl"))]

    def train_reward(self, name: str, rows: Sequence[Preference], seed: int, *options: str) -> RewardModel:
        """A reward model of these pairs."""
        config, context = self._prepared(name, rows, f"reward.seed={seed}", *options)
        reward.run(dataclasses.replace(config.reward, evaluations=1), context)
        return RewardModel(Artifact("reward", name, context.output_dir), context)

    def train_dpo(self, name: str, rows: Sequence[Preference], seed: int, *options: str) -> Answerer:
        """A DPO policy of these pairs."""
        config, context = self._prepared(name, rows, f"dpo.seed={seed}", *options)
        dpo.run(dataclasses.replace(config.dpo, evaluations=1), context)
        return Answerer(Artifact("dpo", name, context.output_dir), context, seed)

    def _prepared(self, name: str, rows: Sequence[Preference], *options: str) -> tuple[PipelineConfig, StageContext]:
        """The configuration, and the context of a stage that learns from `rows`; every tenth row evaluates only.

        Its folder replaces the one before.
        """
        pairs, output = self.folder / "pairs", self.folder / "made"
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (pairs, output):
            folder.mkdir(parents=True)
        write_jsonl(pairs / "train.jsonl", [row for i, row in enumerate(rows) if i % 10])
        write_jsonl(pairs / "test.jsonl", rows[::10])
        given = {"policy": self.sft, "preferences": Artifact("preferences", name, pairs)}
        runtime = Runtime(LaunchConfig(device="cpu"), threads=1, gates="off")
        context = StageContext(given, output, runtime, progress, lambda _: None, lambda *_: None)
        return compose.load(["labeling=simulated", *options]), context

    def true_score(self, policy: Answerer, prompts: int, seed: int = 0) -> float:
        """The mean true score of a policy's answers to held-out prompts."""
        asked = self.test_prompts[:prompts]
        answers = policy.draw(asked, DecodingConfig(max_new_tokens=64), f"test {seed}")
        given = zip(asked, answers, strict=True)
        return mean(true_score(p[-1]["content"], a.text, finished=a.stopped) for p, a in given)


def scores_of(model: RewardModel, samples: Sequence[Sample]) -> list[list[float]]:
    """The model's score of every answer, in logits [samples][answers]."""
    prompts = [sample["prompt"] for sample in samples for _ in sample["answers"]]
    answers = [Answer(answer["text"], [], True) for sample in samples for answer in sample["answers"]]
    flat = iter(score / model.normalization.scale for score in model.score(prompts, answers))
    return [[next(flat) for _ in sample["answers"]] for sample in samples]


def true_scores_of(samples: Sequence[Sample]) -> list[list[float]]:
    return [[quality(sample["prompt"], answer["text"]) for answer in sample["answers"]] for sample in samples]


def accuracy(scores: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> float:
    """The share of pairs with different true scores whose order the scores tell; equal scores count half."""
    right = [
        (own[i] > own[j]) == (true[i] > true[j]) if own[i] != own[j] else 0.5
        for own, true in zip(scores, truth, strict=True)
        for i, j in combinations(range(len(own)), 2)
        if true[i] != true[j]
    ]
    return mean(map(float, right))


def as_task(sample: Sample) -> Task:
    """A sample as annotators get it, in the order in which its answers were drawn."""
    return Task(id=sample["id"], prompt=sample["prompt"], responses=[answer["text"] for answer in sample["answers"]])
