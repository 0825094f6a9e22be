"""Nodes of evaluation: the policies' answers, language models as judges, the report."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import II, MISSING

from pipeline.config.fields import AT_ONCE, OUTSIDE, choice, list_like, many, number, roles
from pipeline.config.nodes.machine import DRAWN_BY
from pipeline.config.nodes.models import DecodingConfig


@dataclass
class LlmJudgeConfig:
    """A language model that compares two answers. Its name changes a version, its address does not."""

    judge: str = field(default=MISSING, metadata=OUTSIDE)  # a policy: a stage, a version or a folder; or https://…/v1
    model: str | None = None  # the model's name at the endpoint
    name: str | None = None  # its name in figures; absent: the model's or the policy's

    @property
    def label(self) -> str:
        return self.name or self.model or self.judge


@dataclass
class EvaluateConfig:
    """Compares policies on prompts that none of them was trained on."""

    added: ClassVar[dict[str, Any]] = {"best_of": None, "drawn_by": "hf"}

    seed: int = II("seed")
    policies: list[str] = many("base", "sft", "dpo", "ppo")  # policies to compare: stages, versions or paths
    baseline: str = "sft"  # the policy that win rates are measured against
    best_of: list[int] | None = None  # also the best of so many answers of the baseline, by the reward model: [4,16]
    prompts: int = number(512, least=1)  # most test prompts to use
    judge: bool | None = None  # use an independent judge, trained on separate prompts; absent: if PPO is evaluated
    judges: list[LlmJudgeConfig] | None = field(default=None, metadata=OUTSIDE)  # language models (stage llm_judges)
    drawn_by: str = choice(II("generation.by"), *DRAWN_BY)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward", "judge")


@dataclass
class LlmJudgesConfig:
    """Language models as judges of the evaluated answers, measured on people's preferences. Set in `evaluate`."""

    seed: int = II("evaluate.seed")
    judges: list[LlmJudgeConfig] | None = list_like("evaluate.judges")  # the language models
    prompts: int = number(200, least=1)  # most prompts to compare answers on, and to compare the baseline with itself
    pairs: int = number(200, least=1)  # most of people's test pairs to measure a judge on
    concurrency: int = field(default=8, metadata=AT_ONCE)  # open requests
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=0.0, max_new_tokens=256))
    inputs: dict[str, str | None] = roles("evaluation", "preferences")


@dataclass
class CompareConfig:
    """The report: which arm fits the preferences better, and how certain that is."""

    examples: int = number(8, least=0)  # prompts shown in the report, with their answers
    inputs: dict[str, str | None] = roles("evaluation", "abtest", "judges")  # abtest=abtest: with people's test
