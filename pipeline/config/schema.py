"""The typed configuration, one node per stage.

`conf/` holds the defaults, `pipeline.config.nodes` the allowed values; this file puts the nodes together. Every number
has limits and every choice has its options, so `checks.faults` reports all faults of a request at once, before torch is
imported.

A stage's node holds every setting that changes its result, and no other, because the stage's version is a hash of
its node. Settings that do not change the result (device, threads, tracking, output folder) are at the top level, in
`launch` and in `tracking`.

The comments beside the fields and the first sentences of the docstrings are the texts of `--help`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.fields import choice, following, number
from pipeline.config.nodes.demonstrations import DataConfig, DraftConfig, ShardConfig, SynthesizeConfig
from pipeline.config.nodes.evaluation import CompareConfig, EvaluateConfig, LlmJudgesConfig
from pipeline.config.nodes.learning import DpoConfig, JudgeConfig, KtoConfig, PpoConfig, RewardConfig
from pipeline.config.nodes.machine import LaunchConfig, ServingConfig, TrackingConfig
from pipeline.config.nodes.models import BaseConfig, ExportConfig, LearningRates, ModelConfig, PeftConfig, SftConfig
from pipeline.config.nodes.people import (
    AbtestConfig,
    BlindConfig,
    CollectConfig,
    LabelingConfig,
    PreferencesConfig,
    PublishConfig,
    SampleConfig,
)


@dataclass
class PipelineConfig:
    """The whole configuration, composed from `conf/` and the command line."""

    stage: str = "all"  # the stage to make; its inputs are made first
    project: str = "playground"  # separates artifacts under outputs
    seed: int = 0  # default of all stages' seeds
    outputs: str = "outputs"  # folder of all projects
    threads: int | None = number(None, least=1)  # of torch; absent: OMP_NUM_THREADS, else idle cores; small models: two
    upstream: str = choice("build", "build", "require")  # require: refuse the request if an input has to be made first
    gates: str = choice("warn", "warn", "stop", "off")  # checks before an arm or a judge; stop: refuse if one warns
    plan: bool = False  # print the steps that would run, and why; run nothing
    tag: str | None = None  # a name for the new version: sft@TAG
    model: ModelConfig = field(default_factory=ModelConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    learning_rates: LearningRates = field(default_factory=LearningRates)
    labeling: LabelingConfig = field(default_factory=LabelingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    generation: ServingConfig = field(default_factory=ServingConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    draft: DraftConfig = field(default_factory=DraftConfig)
    synthesize: SynthesizeConfig = field(default_factory=SynthesizeConfig)
    shard: ShardConfig = field(default_factory=lambda: dataclasses.replace(following(ShardConfig, "data"), number=1))
    data: DataConfig = field(default_factory=DataConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    preferences: PreferencesConfig = field(default_factory=PreferencesConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    kto: KtoConfig = field(default_factory=KtoConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    judge: JudgeConfig = field(default_factory=lambda: following(JudgeConfig, "reward"))
    ppo: PpoConfig = field(default_factory=PpoConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    llm_judges: LlmJudgesConfig = field(default_factory=LlmJudgesConfig)
    blind: BlindConfig = field(default_factory=BlindConfig)
    abtest: AbtestConfig = field(default_factory=AbtestConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def stage_nodes() -> dict[str, Any]:
    """Map each stage's name to the class of its node, in the order of the chain."""
    nodes = {item.name: item.type for item in dataclasses.fields(PipelineConfig)}
    return {name: node for name, node in nodes.items() if "inputs" in getattr(node, "__dataclass_fields__", {})}


def stage_names() -> list[str]:
    """Return the names of all stages, in the order of the chain."""
    return list(stage_nodes())


def tuned_stages() -> list[str]:
    """Return the stages that fine-tune a model with their own `peft` node, not another stage's."""
    return [
        name for name, node in stage_nodes().items() if "peft" in node.__dataclass_fields__ and name not in followers()
    ]


def followers() -> dict[str, str]:
    """Map each stage with options that follow another stage's (unless set) to that other stage."""
    return {name: node.follows for name, node in stage_nodes().items() if hasattr(node, "follows")}


def content(node: Any) -> dict[str, Any]:
    """Return a stage's node as it is hashed and recorded, without the fields marked `outside`.

    `former` holds removed options with the value that they always have now, and `added` holds later options with the
    value that changes nothing, at which they are left out: so earlier versions keep their hash.
    """
    added = getattr(node, "added", {})
    own = {
        item.name: _plain(getattr(node, item.name))
        for item in dataclasses.fields(node)
        if not item.metadata.get("outside")
    }
    return {**getattr(node, "former", {}), **{k: v for k, v in own.items() if k not in added or v != added[k]}}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):  # the keys of `codes` may be numbers
        return {str(key): _plain(one) for key, one in value.items()}
    return content(value) if dataclasses.is_dataclass(value) else value
