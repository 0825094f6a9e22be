"""Nodes of people's work: answers to rank, annotators, rankings, pairs, and the blind A/B test."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from omegaconf import II, MISSING

from labeling.backend import Comparison
from labeling.backends import BACKENDS
from pipeline.config.fields import OUTSIDE, added_to, choice, list_like, many, number, roles
from pipeline.config.nodes.machine import DRAWN_BY
from pipeline.config.nodes.models import DecodingConfig

JUDGEMENT_FORMATS = (
    *(
        "rankings",
        "oasst",
        "pandalm",
        "answers",
        "wide",
        "long",
        "lists",
        "order",
        "label-studio",
        "label-studio-flat",
        "pairs",
    ),
    *("kto", "log", "scores", "preferences", "hh", "openwebui", "arena", "arena_turns", "openai", "swift"),
    "prodigy",
)
"""The values of `labeling.format`, besides `auto`; defined in `pipeline.data.formats.table`."""


@dataclass
class SampleConfig:
    """Answers for people to rank: `answers` per prompt, sampled from the policies in turn."""

    added: ClassVar[dict[str, Any]] = {
        "choose": "representative",
        "candidates": None,
        "drawn": None,
        "disagreement": "ignore",
        "drawn_by": "hf",
    }

    seed: int = II("seed")
    policies: list[str] = many("sft")  # policies that write answers: stages, versions or paths
    prompts: int | None = number(None, least=1)  # number of preference prompts that people get; absent: all
    answers: int = number(4, least=2, most=10)  # number of answers to each prompt
    choose: str = choice("representative", "representative", "active")  # by topics, or by sample.inputs.reward's doubt
    candidates: int | None = number(None, least=2)  # active: prompts that get answers; absent: four times `prompts`
    drawn: int | None = number(None, least=2, most=10)  # active: answers drawn to each of these; absent: `answers`
    disagreement: str = choice("ignore", "ignore", "avoid")  # active: avoid prompts like those that people disagree on
    drawn_by: str = choice(II("generation.by"), *DRAWN_BY)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward")  # reward: of an earlier round, for sample.choose=active


@dataclass
class LabelingConfig:
    """Annotators, and where they rank. `publish` and `collect` follow some of these keys; others change no version."""

    backend: str = choice("embedded", *BACKENDS, "file")  # follows labeling=NAME
    path: str | None = MISSING  # for labeling=file: rankings or ready-made pairs
    format: str = choice("auto", "auto", *JUDGEMENT_FORMATS)  # auto: detected from the content
    columns: dict[str, str] = field(default_factory=dict)  # our column name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a value in the file -> its meaning: {0: first, 1: second}
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    max_bad_fraction: float = number(0.2, least=0, most=1)  # share of bad rows above which the stage fails
    home: str = "${outputs}/.argilla"  # folder of the embedded server
    port: int | None = number(None, least=1, most=65535)  # of the embedded server; absent: a free one from 6900
    annotators: list[str] | None = None  # pseudonyms of people; absent: simulated annotators (playground only)
    overlap: int | str = 2  # number of people who rank each prompt; 2..4: two, and up to four where they disagree
    reuse: bool = True  # keep people's rankings when the models change; simulated annotators rank again
    question: str = choice("ranking", *get_args(Comparison))  # rank all answers, choose one of two, or give stars
    guidelines: str | None = None  # a Markdown file; absent: the built-in one
    calibration: int = number(0, least=0)  # number of prompts that every annotator ranks
    repeats: float = number(0.0, least=0, most=1)  # share of these that is shown again, in other slots
    gold: str | None = None  # a file of rankings known to be right; every annotator ranks these prompts, too
    simulated: int = number(3, least=1)  # number of simulated annotators
    noise: float = number(0.05, least=0)  # of simulated annotators: standard deviation on the true score
    tie_width: float = number(0.05, least=0)  # of simulated annotators: they tie answers with closer scores


@dataclass
class PublishConfig:
    """Tasks for annotators, with answers in shuffled slots; the map from slot to policy is stored separately."""

    seed: int = II("seed")
    question: str = II("labeling.question")
    calibration: int = II("labeling.calibration")
    repeats: float = II("labeling.repeats")
    inputs: dict[str, str | None] = roles("sample")


@dataclass
class CollectConfig:
    """Rankings collected from annotators. People's rankings are hashed in place of this node.

    Simulated rankings follow from this node, so then it is hashed.
    """

    seed: int = II("seed")
    simulated: int = II("labeling.simulated")
    overlap: int | str = II("labeling.overlap")
    noise: float = II("labeling.noise")
    tie_width: float = II("labeling.tie_width")
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: use the tasks complete so far
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("publish")


@dataclass
class PreferencesConfig:
    """Pairs made of rankings: votes pooled by majority, ties left out, split by prompt."""

    added: ClassVar[dict[str, Any]] = {"pairs": "all", "noise": 0.0}

    seed: int = II("data.seed")
    test_fraction: float = number(0.1, above=0, most=0.9)  # share of prompts to evaluate DPO and reward models on
    judge_fraction: float = number(0.15, least=0, most=0.8)  # share of prompts only for the independent judge
    exclude: list[str] | None = None  # annotators to leave out
    pool: str = choice("majority", "majority", "net", "weighted")  # over half of votes, more votes, or by reliability
    pairs: str = choice("all", "all", "adjacent", "best_worst")  # of a ranking: all, neighbours, or first with last
    noise: float = number(0.0, least=0, most=0.5)  # share of training pairs to make wrong, as an experiment
    format: str = II("labeling.format")  # as in labeling
    columns: dict[str, str] = added_to("labeling.columns")  # in addition to those in labeling
    codes: dict[Any, str] = added_to("labeling.codes")  # in addition to those in labeling
    on_bad_row: str = choice(II("labeling.on_bad_row"), "drop", "error")  # as in labeling
    max_bad_fraction: float = number(II("labeling.max_bad_fraction"), least=0, most=1)  # as in labeling
    inputs: dict[str, str | None] = roles("rankings")


@dataclass
class BlindConfig:
    """Pairs of policies' answers to held-out prompts, in shuffled slots, for the blind A/B test. Set in `abtest`."""

    seed: int = II("abtest.seed")
    between: list[str] | None = list_like("abtest.between")  # policies of `evaluate.policies`
    prompts: int | None = number(II("abtest.prompts"), least=1)
    inputs: dict[str, str | None] = roles("evaluation")


@dataclass
class AbtestConfig:
    """Blind A/B test: which policy's answers people prefer. Their verdicts are hashed in place of this node.

    Simulated verdicts follow from this node, so then it is hashed.
    """

    seed: int = II("seed")
    between: list[str] | None = None  # policies of `evaluate.policies`; absent: the last two
    prompts: int | None = number(None, least=1)  # prompts to ask about; absent: as many as tell 55% from 50%
    overlap: int = number(1, least=1)  # number of people who judge each pair of answers
    guidelines: str | None = field(default=None, metadata=OUTSIDE)  # a Markdown file; absent: the built-in one
    simulated: int = II("labeling.simulated")
    noise: float = II("labeling.noise")
    tie_width: float = II("labeling.tie_width")
    accept: str = choice("early", "early", "complete", "partial", outside=True)  # early: stop at a clear difference
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("blind")
