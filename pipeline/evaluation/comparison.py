"""The data of the report: the policies of one evaluation, each with its name, lineage and colour."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from pipeline.evaluation.best_of import name_of
from pipeline.stage import Stage
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import lineage, of_stage

Row = Mapping[str, Any]

BY_PEOPLE = "people/"  # before the metrics of the blind A/B test in a report's manifest
MOST_RIVALS = 4  # arms of which each two are compared
COLOURS = 8  # of the style sheet: 0 for the baseline, arms from 1 upward, its ancestors from 7 downward


@dataclass(frozen=True)
class Policy:
    """One policy of an evaluation. `made` is empty if its artifact has been removed."""

    name: str
    colour: int
    metrics: Mapping[str, float]
    label: str  # the name in reports: SFT, DPO, SFT@friday; other names are not changed
    made: tuple[Artifact, ...] = ()  # its lineage with itself last, upstream first
    is_baseline: bool = False
    is_ancestor: bool = False  # upstream of the baseline, or `base`, the starting model

    @property
    def artifact(self) -> Artifact | None:
        return self.made[-1] if self.made else None


@dataclass(frozen=True)
class Comparison:
    """An evaluation, by policy."""

    evaluation: Artifact
    policies: Sequence[Policy]
    stages: Mapping[str, Stage]  # all stages, in the order of the chain
    rows: Sequence[Row] = field(repr=False)
    abtest: Artifact | None = None  # people's blind A/B test of the same answers
    judged: Sequence[Row] = field(default=(), repr=False)  # its verdicts
    judges: Sequence[Row] = field(default=(), repr=False)  # figures of language models as judges

    @property
    def baseline(self) -> Policy | None:
        return next((policy for policy in self.policies if policy.is_baseline), None)

    @property
    def challengers(self) -> list[Policy]:
        """The policies other than the baseline: first the arms, then the baseline's ancestors."""
        others = [policy for policy in self.policies if not policy.is_baseline]
        return sorted(others, key=lambda policy: policy.is_ancestor)

    @property
    def arms(self) -> list[Policy]:
        return [policy for policy in self.policies if not (policy.is_baseline or policy.is_ancestor)]

    @property
    def rivals(self) -> list[tuple[Policy, Policy]]:
        """The arms to compare head to head: each two of a few; of many, the one that wins most and each other."""
        if len(self.arms) <= MOST_RIVALS:
            return list(combinations(self.arms, 2))
        best = max(self.arms, key=lambda arm: arm.metrics.get("win_rate", -math.inf))
        return [(best, arm) for arm in self.arms if arm is not best]

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.evaluation.metrics

    @property
    def prompts(self) -> int:
        return int(self.evaluation.metrics.get("prompts", len(self.rows)))

    @cached_property
    def made(self) -> list[Artifact]:
        people = lineage(self.abtest) if self.abtest else []
        return list({made.reference: made for made in (*lineage(self.evaluation), *people)}.values())

    @property
    def reward_models(self) -> list[Artifact]:
        """The reward models in the lineage, in the order of the chain."""
        names = [name for name, stage in self.stages.items() if stage.makes == "reward model"]
        return [made for name in names for made in of_stage(self.made, name)]

    @property
    def decides(self) -> str:
        """The key of the score that decides wins: the true score if it is known, else the independent judge's."""
        known = any("score" in answer for row in self.rows for answer in row["answers"].values())
        return "score" if known else "judge_reward"

    def knows(self, metric: str) -> bool:
        return any(metric in policy.metrics for policy in self.policies)

    def values(self, policy: Policy, key: str) -> list[float]:
        """Return one number per prompt; empty if one is unknown, so that the lists of policies stay paired."""
        found = [row["answers"].get(policy.name, {}).get(key) for row in self.rows]
        return [] if any(value is None or not math.isfinite(value) for value in found) else found


def comparison(evaluation: Artifact, rows: Sequence[Row], stages: Mapping[str, Stage]) -> Comparison:
    """Sort the policies of an evaluation into the baseline, its ancestors and the arms."""
    config = evaluation.manifest["config"]
    counts, baseline = config.get("best_of") or (), config["baseline"]
    behind = {name: name for name in config["policies"]} | {name_of(count): "reward" for count in counts}
    made = {
        name: tuple(lineage(evaluation.inputs[role])) if role in evaluation.inputs else ()
        for name, role in behind.items()
    }
    names = list(behind)
    labels = {name_of(count): f"Best of {count}" for count in counts}
    below = {artifact.reference for artifact in made.get(baseline, ())}
    started = [name for name in names if name == "base" or (made[name] and made[name][-1].reference in below)]
    ancestors = [name for name in started if name != baseline]
    arms = [name for name in names if name != baseline and name not in ancestors]
    colours = {baseline: 0}
    colours |= {name: 1 + i % (COLOURS - 1) for i, name in enumerate(arms)}
    colours |= {name: COLOURS - 1 - i % (COLOURS - 1) for i, name in enumerate(ancestors)}

    def policy(name: str) -> Policy:
        metrics = own_metrics(evaluation.metrics, name)
        label = labels.get(name) or label_of(name, stages)
        return Policy(name, colours[name], metrics, label, made[name], name == baseline, name in ancestors)

    return Comparison(evaluation, [policy(name) for name in names], stages, rows)


def label_of(name: str, stages: Mapping[str, Stage]) -> str:
    """Return a policy's label: `SFT@friday` for `sft@friday`. A name without a stage is its own label."""
    stage, at, version = name.partition("@")
    return (stages[stage].label if stage in stages and stages[stage].label else stage) + at + version


def own_metrics(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """Return a policy's metrics without the prefix of its name. A name may contain slashes (a path), a metric not."""
    own = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
    return {key: value for key, value in own.items() if "/" not in key}
