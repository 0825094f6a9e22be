"""Determines the versions that a request needs, which of them exist, and why the others have to be made.

A version is the hash of the stage's name and version, its configuration, and the versions of its inputs. All of these
are known before anything runs, so a whole chain is planned at once. People's answers are the exception: until they
exist, the step that asks, and all steps that need it, have the version `PENDING`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labeling.backend import without_times
from pipeline.config.names import nearest
from pipeline.config.schema import PipelineConfig, content
from pipeline.engine.finding import find
from pipeline.engine.paths import missing_files, with_keys
from pipeline.engine.shards import finished_shards
from pipeline.errors import PipelineError, RequestError, Unplannable
from pipeline.model_files.checks import check_models
from pipeline.people.history import authors, collections
from pipeline.stage import (
    Asking,
    FromDataset,
    FromFiles,
    FromModel,
    FromPath,
    FromReference,
    FromStage,
    FromTokenizer,
    Reference,
    Stage,
    policy,
)
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from pipeline.store.hashing import HashCache, content_hash

LAST_STAGE = "compare"  # the last stage of stage=all
UP_TO_DATE = "up to date"
PEOPLE_ARE_ASKED = "people are asked"
MAKES_WRITERS = ("base model", "policy")  # models that write answers
PENDING = ""  # the version of a step that depends on answers which people have not given yet


@dataclass(frozen=True)
class Step:
    """One stage of a chain, configured by this request."""

    stage: Stage
    config: Any
    version: str
    inputs: Mapping[str, "Step | Artifact"]
    complete: bool
    why: str  # why it has to run, or `UP_TO_DATE`
    work: Mapping[str, Artifact] = field(default_factory=dict)  # finished shards of it, which change no version

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def asks(self) -> bool:
        """Whether running this step reads people's answers."""
        return self.version == PENDING and all(given.version != PENDING for given in self.inputs.values())

    @property
    def needs(self) -> set[str]:
        """The names of the steps that are its inputs."""
        return {given.name for given in self.inputs.values() if isinstance(given, Step)}


class Planner:
    """Resolves references to versions. Each step is resolved once.

    `settled` maps a stage to the version of the people's answers that arrived while this command ran.
    """

    def __init__(self, config: PipelineConfig, store: Store, settled: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.store = store
        self.settled = settled or {}
        self.hashes = HashCache(store.root.parent / ".cache" / "hashes.json")
        self.steps: dict[str, Step] = {}  # by name, in the order in which they have to run
        self._refused: dict[str, Unplannable] = {}  # faults of each step, so that they are found once
        self._unfound: dict[str, PipelineError] = {}
        self._sound: set[tuple[str, bool]] = set()  # user models that passed their checks
        self._open: list[str] = []  # stages being resolved: one that occurs again is its own ancestor

    def plan(self) -> list[Step]:
        """Return the steps of the chain that ends with the requested stage, upstream first.

        Raises `Unplannable` with all faults, and `RequestError` if `upstream=require` and an input does not exist.
        """
        wanted = LAST_STAGE if self.config.stage == "all" else self.config.stage
        if wanted not in STAGES:
            raise RequestError(f"stage={wanted}: no such stage. {nearest(wanted, ['all', *STAGES])}")
        try:
            target = self.step(wanted)
        except Unplannable as error:
            self.hashes.keep()
            raise Unplannable([*error.faults, *missing_files(self.config)]) from None
        self.hashes.keep(make_folder=True)
        if self.config.upstream == "require":
            self._require(target)
        return list(self.steps.values())

    def to_run(self, target: str | None = None) -> list[Step]:
        """Return the incomplete steps to make for `target` (default: the last planned step), upstream first.

        A complete step's inputs are not included.
        """
        needed = {target or list(self.steps)[-1]}
        for step in reversed(self.steps.values()):
            if step.name in needed and not step.complete:
                needed |= step.needs
        return [step for step in self.steps.values() if step.name in needed and not step.complete]

    def _require(self, target: Step) -> None:
        for step in self.to_run():
            if step is not target:
                self.store.resolve(step.name)  # raises if the stage has no version at all
                raise RequestError(
                    f"'{step.name}' has no finished version for this request ({step.why}), and upstream=require "
                    f"forbids making it. Run `python -m pipeline stage={step.name} …` first, or name a version with "
                    f"<stage>.inputs.<role>={step.name}@VERSION."
                )

    def step(self, name: str) -> Step:
        """Resolve a stage of this request and all its inputs.

        Raises `Unplannable` with all faults of the stage and of its inputs.
        """
        stage, config = STAGES[name], getattr(self.config, name)
        if name in self.steps:
            return self.steps[name]
        if name in self._open:
            circle = " needs ".join([*self._open[self._open.index(name) :], name])
            raise RequestError(f"A circle: {circle}. Name a finished version instead, such as {name}@latest.")
        if name in self._refused:
            raise self._refused[name]
        self._open.append(name)
        try:
            inputs = self._inputs(stage, config)
            check_models(config, inputs, stage.training, self._sound)
        except RequestError as error:
            self._refused[name] = Unplannable(_faults(error))
            raise self._refused[name] from None
        finally:
            self._open.pop()
        if stage.asking and stage.asking.applies(self.config):
            step = self._asking_step(stage, stage.asking, config, inputs)
        elif any(given.version == PENDING for given in inputs.values()):
            step = Step(stage, config, PENDING, inputs, False, "once people have answered")
        else:
            version = fingerprint(stage, config, {role: given.version for role, given in inputs.items()})
            complete = self.store.is_complete(name, version)
            step = Step(stage, config, version, inputs, complete, UP_TO_DATE)
            if not complete:
                step = replace(step, why=self._reason_to_run(step), work=self._finished_work(stage, inputs))
        self.steps[name] = step
        return step

    def _inputs(self, stage: Stage, config: Any) -> dict[str, "Step | Artifact"]:
        """Map each input role of a stage to a step or an artifact. Raises `Unplannable` with all unresolved roles."""
        pinned = {role: policy(self.config, text) for role, text in config.inputs.items() if text}
        wanted = {**stage.inputs(self.config), **pinned}
        inputs: dict[str, Step | Artifact] = {}
        errors: list[PipelineError] = []
        for role, reference in wanted.items():
            try:
                inputs.update(self._inputs_of_role(role, reference))
            except PipelineError as error:
                errors.append(error)
        if any(isinstance(error, RequestError) for error in errors):
            raise Unplannable(fault for error in errors for fault in _faults(error))
        if errors:
            raise errors[0]
        return inputs

    def _asking_step(self, stage: Stage, asking: Asking, config: Any, inputs: Mapping[str, "Step | Artifact"]) -> Step:
        """Return the step of a stage that asks people. Earlier answers are used if they fit this request."""
        about = inputs[asking.about]
        made = collections(self.store, stage.name, asking.about)
        own = made.get(about.version)
        if stage.name in self.settled:
            return Step(stage, config, self.settled[stage.name], inputs, True, UP_TO_DATE)
        look_again = self.config.stage == stage.name or config.accept == "partial"
        if own and own.whole and not look_again:
            return Step(stage, config, own.version, inputs, True, UP_TO_DATE)
        reuses = asking.outlives_models and self.config.labeling.reuse
        if isinstance(about, Step) and not about.complete and made and reuses:
            last, again = list(made.values())[-1], self.config.stage == stage.name
            asked = self.store.open(stage.name, last.version).inputs.get(asking.about)
            writers = [one.name for one in STAGES.values() if one.makes in MAKES_WRITERS]
            why = (asking.again if again else asking.reused).format(authors=authors(asked, writers))
            if not again:
                return Step(stage, config, last.version, {}, True, why)
            inputs = {**inputs, asking.about: self.store.open(about.name, last.about)}
            return Step(stage, config, PENDING, inputs, False, why)
        return Step(stage, config, PENDING, inputs, False, PEOPLE_ARE_ASKED)

    def _finished_work(self, stage: Stage, inputs: Mapping[str, "Step | Artifact"]) -> dict[str, Artifact]:
        """Return the shards that a stage merges; they have its inputs. Raises `Unplannable` if one is not finished."""
        named = stage.work(self.config) if stage.work else {}
        versions = {role: given.version for role, given in inputs.items()}
        wanted = {role: (name, fingerprint(STAGES[name], config, versions)) for role, (name, config) in named.items()}
        try:
            return finished_shards(stage.name, wanted, self.store) if wanted else {}
        except RequestError as error:
            raise Unplannable(_faults(error)) from None

    def _inputs_of_role(self, role: str, reference: Reference) -> Iterator[tuple[str, "Step | Artifact"]]:
        """Yield (role, version) for one role: a single version, or all rounds if people answered in several."""
        given = self.resolve(reference)
        yield role, given
        asking = given.stage.asking if isinstance(given, Step) else None
        if not isinstance(given, Step) or not asking or not asking.applies(self.config):
            return
        if given.version != PENDING and asking.outlives_models and self.config.labeling.reuse:
            made = collections(self.store, given.name, asking.about).values()
            others = [one for one in made if one.version != given.version]
            for number, other in enumerate(others, start=2):
                yield f"{role}_{number}", self.store.open(given.name, other.version)

    def resolve(self, reference: Reference) -> "Step | Artifact":
        """Resolve a reference to a step of this request or to an existing artifact.

        Raises `RequestError` if neither exists. The message begins with the keys that contain the reference.
        """
        if isinstance(reference, FromStage):
            return self.step(reference.stage)
        key = repr(reference)
        if key not in self._unfound:
            try:
                return find(reference, self.store, self.hashes)
            except Unplannable as error:
                self._unfound[key] = error
            except PipelineError as error:  # stored, so that the hub is not asked twice
                self._unfound[key] = type(error)(with_keys(self.config, _written_value(reference), str(error)))
        raise self._unfound[key]

    def _reason_to_run(self, step: Step) -> str:
        name = step.name
        if step.version in self.store.unfinished(name):
            return "unfinished: it continues where it stopped"
        others = self.store.versions(name)
        named = self.store.pointers(name).get("latest")
        last = named if named in others else others[-1] if others else None
        if last is None:
            return "not made yet"
        try:
            before = self.store.read_manifest(name, last)
        except PipelineError:  # the damage is reported when it is used
            return f"{short_version(last)} is another one, and damaged"
        left_out = getattr(step.config, "added", {})  # options at their defaults are not in a manifest
        changes = list(_differences({**left_out, **content(step.config)}, {**left_out, **before["config"]}))
        for role in dict.fromkeys([*step.inputs, *before["inputs"]]):
            old = before["inputs"].get(role, {}).get("version", "none")
            new = step.inputs[role].version if role in step.inputs else "none"
            if old != new:
                changes.append(f"{role} {short_version(old)} -> {short_version(new)}")
        return "differs from " + f"{short_version(last)}: " + (", ".join(changes) or "another version of the stage")


def _written_value(reference: Reference) -> Any:
    """Return the value in the request that this reference comes from; None for a stage."""
    match reference:
        case FromFiles(_, paths):
            return paths
        case FromReference(text):
            return text
        case FromModel(path) | FromDataset(path) | FromTokenizer(path) | FromPath(path):
            return path
    return None


def fingerprint(stage: Stage, config: Any, inputs: Mapping[str, str]) -> str:
    """Return the version of a stage's output from its configuration and the versions of its inputs."""
    return _fingerprint(stage, {"config": content(config)}, inputs)


def observed_fingerprint(stage: Stage, observed: Any, inputs: Mapping[str, str]) -> str:
    """Return the version of people's answers, independent of the configuration and of the times of the answers."""
    seen = {**observed, "answers": without_times(observed["answers"])}
    return _fingerprint(stage, {"observed": seen}, inputs)


def _fingerprint(stage: Stage, made_from: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    return content_hash({"stage": stage.name, "meaning": stage.version, **made_from, "inputs": dict(inputs)})


def _differences(new: Mapping[str, Any], old: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted({*new, *old}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(b, a, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} {a} -> {b}"


def _faults(error: PipelineError) -> list[str]:
    return error.faults if isinstance(error, Unplannable) else [str(error)]


def short_version(version: str) -> str:
    """Return the first four digits of a version, or "…" for a pending one."""
    return re.sub(r"^(.{4}).*$", r"\1", version) or "…"
