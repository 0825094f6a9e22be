"""Defines a stage, its context, and the references that name its inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.config.nodes.machine import LaunchConfig, ServingConfig
from pipeline.config.schema import PipelineConfig, stage_names
from pipeline.model_files.architectures import Training
from pipeline.progress import Progress
from pipeline.store.artifact import Artifact

if TYPE_CHECKING:
    from pipeline.people.annotators import People

Metrics = dict[str, float]
Makes = Literal["base model", "policy", "reward model", ""]


@dataclass(frozen=True)
class FromStage:
    """The version of a stage that the configuration determines."""

    stage: str


@dataclass(frozen=True)
class FromReference:
    """An existing version, such as `sft@friday`."""

    reference: str


@dataclass(frozen=True)
class FromPath:
    """A user file or folder in place of an artifact: a model, an adapter, pairs or rankings."""

    path: str


@dataclass(frozen=True)
class FromFiles:
    """User data: a file, a folder, a glob, or a list of them. `kind` names their content."""

    kind: str
    paths: Any


@dataclass(frozen=True)
class FromModel:
    """A model in a local folder or on the hub."""

    path: str
    revision: str | None = None
    dtype: str = "float32"
    chat_template: str | None = None
    thinking: str | None = None


@dataclass(frozen=True)
class FromDataset:
    """One split (`part`) of one subset of a hub dataset."""

    path: str
    revision: str | None
    subset: str | None
    part: str


@dataclass(frozen=True)
class FromTokenizer:
    """The tokenizer of a model in a local folder or on the hub. The rest of the model has no effect."""

    path: str


Reference = FromStage | FromReference | FromPath | FromFiles | FromModel | FromDataset | FromTokenizer


@dataclass(frozen=True)
class Runtime:
    """How machines are used. None of this changes the result, but for the random numbers of servers that draw."""

    launch: LaunchConfig
    threads: int
    gates: str = "warn"  # effect of a gate that warns: warn, stop or off
    rank: int = 0  # number of this process among those that run the stage together
    processes: int = 1  # count of these processes
    generation: ServingConfig = field(default_factory=ServingConfig)  # servers that draw, for stages with `drawn_by`


@dataclass(frozen=True)
class StageContext:
    """The inputs and services for a running stage."""

    inputs: Mapping[str, Artifact]
    output_dir: Path  # the same in every process that runs the stage; only the main one writes there
    runtime: Runtime
    progress: Progress
    say: Callable[[str], None]  # takes a remark for the user; it is printed and logged
    track: Callable[[Mapping[str, float], int], None]  # takes metrics and their step, for live curves

    @property
    def is_main(self) -> bool:
        """Whether this process writes: the one of several that run the stage together, or the only one."""
        return self.runtime.rank == 0


@dataclass(frozen=True)
class PeopleContext(StageContext):
    """The context of a stage that meets people."""

    people: "People"  # the annotators and their server
    observed: Any = None  # the result of the stage's `observe`
    standing: int = 0  # answers in the whole collection of this round: it stays whole when people are added


class ModelRows(NamedTuple):
    """The rows that a stage passes through its model, by which its memory is planned."""

    role: str  # the input that holds them
    files: tuple[str, ...]  # the first of these files that is there
    passes: int = 1  # rows of a pass for each row of a batch: 2 where a row is a pair


@dataclass(frozen=True)
class Asking:
    """How a stage asks people."""

    about: str  # the input role that the tasks come from
    applies: Callable[[PipelineConfig], bool]  # whether this configuration asks people
    observe: Callable[[Any, PeopleContext], Any]  # reads their answers; raises `WaitingForPeople` below the quorum
    reused: str = ""  # remark if another stage uses earlier answers; {authors}: the policies that they are about
    again: str = ""  # remark if this stage itself is requested
    outlives_models: bool = True  # whether answers are still of use after a change to the models that they are about


@dataclass(frozen=True)
class Stage:
    """One step of the chain. `run` writes into `output_dir` and returns flat, finite metrics.

    A stage's configuration and inputs determine its output. A stage that is `asking` people first observes their
    answers, and its version is the hash of these.

    All facts about a stage are defined here. Other rooms get stages, or their names, and keep no lists of stages.

    Stage modules import no heavy library at the top: torch is imported when a stage runs, not when it is planned.
    """

    name: str
    config: type
    inputs: Callable[[PipelineConfig], Mapping[str, Reference]]
    run: Callable[[Any, PeopleContext], Metrics]  # a stage that meets no people takes a StageContext
    summary: Callable[[Mapping[str, float]], str]
    version: int = 1  # increased by hand when the stage's meaning changes
    makes: Makes = ""
    label: str = ""  # name in reports of a policy that it makes
    asking: Asking | None = None
    work: Callable[[PipelineConfig], Mapping[str, tuple[str, Any]]] | None = None
    """Finished versions that it takes over, which change nothing in its result: role -> (stage, its configuration)."""
    quick: bool = False  # takes seconds and has no curve: not tracked offline
    meets_people: bool = False  # runs in the command's own process, which reaches the annotators' server
    keeps_human_work: bool = False  # holds tasks for people or their answers: never pruned
    rows: ModelRows | None = None  # the rows that go through a model; None: no model is loaded
    generates: bool = False  # samples answers from the model that it trains
    trains_prefixes: bool = False  # peft.method=prefix is possible
    is_distributed: bool = False  # `launch.processes` run it together; other stages run in one process
    is_shared: bool = False  # policies in a fair comparison share one version of it
    is_side_branch: bool = False  # made on the way or outside the chain: never suggested as the next stage
    compares_policies: bool = False  # its metrics compare policies

    @property
    def training(self) -> Training:
        """How the stage uses the model that it trains."""
        return Training(self.makes == "reward model", self.generates, self.trains_prefixes)


def parse_reference(text: str) -> Reference:
    """Parse `<stage>.inputs.<role>=…` or an entry of a policy list: a stage, a version of a stage, or a path."""
    stage, at, _ = text.partition("@")
    if stage in stage_names():
        return FromReference(text) if at else FromStage(stage)
    return FromPath(text)


def starting_model(config: PipelineConfig) -> Reference:
    """Return the model that training starts from: the user's, else the embedded tiny base."""
    model = config.model
    if not model.path:
        return FromStage("base")
    return FromModel(model.path, model.revision, model.dtype, model.chat_template, model.thinking)


def policy(config: PipelineConfig, text: str) -> Reference:
    """Return the reference for a policy's name. `base` is the starting model: the user's or the embedded one."""
    return starting_model(config) if text == "base" else parse_reference(text)
