"""What a stage is, what it is given, and how it names what it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.schema import LaunchConfig, PipelineConfig, stage_names
from pipeline.model_files.architectures import Training
from pipeline.progress import Progress
from pipeline.store.artifacts import Artifact

if TYPE_CHECKING:
    from pipeline.people.annotators import People

Metrics = dict[str, float]
Makes = Literal["base model", "policy", "reward model", ""]


@dataclass(frozen=True)
class FromStage:
    """The version of a stage that the composed configuration asks for."""

    stage: str


@dataclass(frozen=True)
class FromReference:
    """A version that was made before: `sft@friday`."""

    reference: str


@dataclass(frozen=True)
class FromPath:
    """A file or folder of the user's own that takes the place of an artifact: a model, an adapter, pairs, rankings."""

    path: str


@dataclass(frozen=True)
class FromFiles:
    """The user's own data: a file, a folder, a glob, or a list of them; `kind` is what they hold."""

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
    """A dataset on the hub: of one of its subsets, one split."""

    path: str
    revision: str | None
    subset: str | None
    part: str


@dataclass(frozen=True)
class FromTokenizer:
    """The tokenizer of a model in a local folder or on the hub: nothing else of the model counts."""

    path: str


Reference = FromStage | FromReference | FromPath | FromFiles | FromModel | FromDataset | FromTokenizer


@dataclass(frozen=True)
class Runtime:
    """How the machine is used: what does not change the result."""

    launch: LaunchConfig
    threads: int
    gates: str = "warn"  # what follows from a gate that warns: warn, stop or off


@dataclass(frozen=True)
class StageContext:
    """What a running stage is given."""

    inputs: Mapping[str, Artifact]
    output_dir: Path  # deterministic: every process of a distributed run agrees on it
    runtime: Runtime
    progress: Progress
    say: Callable[[str], None]  # a remark for whoever runs this: shown, and kept in the log
    track: Callable[[Mapping[str, float], int], None]  # metrics at a step, for live curves


@dataclass(frozen=True)
class PeopleContext(StageContext):
    """What a running stage that meets people is given as well."""

    people: "People"  # where annotators are asked
    observed: Any = None  # what the stage's `observe` returned


@dataclass(frozen=True)
class Asking:
    """How a stage asks people."""

    about: str  # the input that they are asked about
    applies: Callable[[PipelineConfig], bool]  # whether this configuration asks people
    observe: Callable[[Any, PeopleContext], Any]  # their answers by now; raises `WaitingForPeople` below the quorum
    reused: str  # the remark where earlier answers serve another stage; {authors} are the policies that they are about
    again: str  # the remark where the stage itself is asked for


@dataclass(frozen=True)
class Stage:
    """One step of the chain. `run` writes into `output_dir` and returns flat, finite metrics.

    What a stage makes follows from its configuration and its inputs, unless it is `asking` people: then it first
    observes their answers, and its version is hashed from these.

    All that the other rooms know about a stage stands here: they are given stages, or names of them, and have no list
    of their own.

    Modules of stages import nothing heavy at their top: torch is imported when a stage runs, not when it is planned.
    """

    name: str
    config: type
    inputs: Callable[[PipelineConfig], Mapping[str, Reference]]
    run: Callable[[Any, PeopleContext], Metrics]  # one that meets no people takes a StageContext
    summary: Callable[[Mapping[str, float]], str]
    version: int = 1  # raised by hand when the stage's meaning changes
    makes: Makes = ""
    label: str = ""  # what reports call a policy that it made
    asking: Asking | None = None
    quick: bool = False  # done in seconds, with no curve to look at: tracked where a service is asked, not offline
    meets_people: bool = False  # it runs in the command's own process, where the annotators' server is reached
    keeps_human_work: bool = False  # what people are asked about, or what they answered: never pruned
    generates: bool = False  # it draws answers from the model that it trains
    is_shared: bool = False  # policies that are compared on equal terms have the same version of it
    is_side_branch: bool = False  # made on the way or outside the chain: never proposed as the next stage
    compares_policies: bool = False  # its metrics are those of policies side by side

    @property
    def training(self) -> Training:
        """What it does with the model that it trains."""
        return Training(as_reward=self.makes == "reward model", generates=self.generates)


def parse_reference(text: str) -> Reference:
    """What was written as `<stage>.inputs.<role>=…` or in a list of policies: a stage, a version of one, or a path."""
    stage, at, _ = text.partition("@")
    if stage in stage_names():
        return FromReference(text) if at else FromStage(stage)
    return FromPath(text)


def starting_model(config: PipelineConfig) -> Reference:
    """The model everything starts from: the user's, else the embedded tiny base."""
    model = config.model
    if not model.path:
        return FromStage("base")
    return FromModel(model.path, model.revision, model.dtype, model.chat_template, model.thinking)


def policy(config: PipelineConfig, text: str) -> Reference:
    """A policy named in a list: `base` is the model everything starts from, whatever it is."""
    return starting_model(config) if text == "base" else parse_reference(text)
