"""Shared by all commands: parsing arguments, the project, and references to artifacts."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pipeline.config import compose
from pipeline.config.names import NAME, nearest, split_flags, word_hint
from pipeline.config.remembered import Request, key_of, merged, recall
from pipeline.config.schema import PipelineConfig, stage_names
from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import MANIFEST, Store

OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_][\w.@/]*=")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `RequestError`, so that its faults are reported like all others."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("unrecognized arguments: ").split() if "unrecognized" in message else []
        raise RequestError(f"{message}. {_hint(words) or self.format_usage().strip()}")


def _hint(words: Sequence[str]) -> str:
    """Return a suggestion for words that a command does not take, such as `--project support` or `sft`."""
    if words and words[0] in stage_names():
        return word_hint(words[0])
    try:
        split_flags(words)
    except RequestError as error:
        return str(error)
    return ""


def parser(command: str, about: str) -> Parser:
    """Return a parser for one command. It does not get the key=value arguments."""
    more = "key=value: project=NAME and outputs=DIR say where to look; any other key is as for `python -m pipeline`."
    return Parser(prog=f"python -m pipeline {command}", description=about, epilog=more)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into (words, key=value overrides), in any order."""
    overrides = [text for text in arguments if OVERRIDE.match(text)]
    return [text for text in arguments if text not in overrides], overrides


def project(overrides: Sequence[str]) -> tuple[PipelineConfig, Store]:
    """Return the configuration of the overrides and the store of its project."""
    config = compose.load(overrides)
    return config, Store(Path(config.outputs), config.project)


@dataclass(frozen=True)
class Asked:
    """The last request of a project with the new overrides merged in. `remark` is for the user."""

    config: PipelineConfig
    store: Store
    request: Request
    last: Request | None
    remark: str = ""


def with_last_request(overrides: Sequence[str], *, any_stage: bool = False) -> Asked:
    """Return a project's stored request with these overrides merged in.

    `any_stage` drops the stage of the stored request. Raises `RequestError` for wrong overrides.
    """
    store = _store(overrides)
    here = Request(tuple(overrides))
    try:
        last = recall(store.root)
    except RequestError as error:
        return Asked(compose.load(overrides), store, here, None, str(error))
    if last is None:
        return Asked(compose.load(overrides), store, here, None)
    before = [text for text in last.overrides if not (any_stage and key_of(text) == "stage")]
    whole = merged(before, overrides)
    try:
        return Asked(compose.load(whole), store, replace(last, overrides=tuple(whole)), last)
    except RequestError as error:
        config = compose.load(overrides)  # raises if the new overrides are wrong by themselves
        return Asked(config, store, here, None, f"The last request is no longer valid: {last.command()}\n{error}")


def _store(overrides: Sequence[str]) -> Store:
    """Return the store of the project in the overrides, which may be valid only together with the stored request."""
    place = [text for text in overrides if key_of(text) in ("project", "outputs")]
    try:
        return project(overrides)[1]
    except RequestError:
        if place == list(overrides):
            raise
        return project(place)[1]


def projects(outputs: Path) -> list[str]:
    """Return the names of the folders that hold artifacts of any stage."""
    names = sorted(p.name for p in outputs.iterdir() if p.is_dir()) if outputs.is_dir() else []
    return [name for name in names if NAME.fullmatch(name) and set(Store(outputs, name).stages()) & set(stage_names())]


def find(store: Store, reference: str) -> tuple[Store, str, str]:
    """Return (store, stage, version) for `sft`, `sft@friday` or the path of a version.

    Raises `RequestError` if there is none.
    """
    path = Path(reference).expanduser().absolute()
    if "@" not in reference and (path / MANIFEST).is_file():
        return Store(path.parents[2], path.parents[1].name), path.parents[0].name, path.name
    stage = reference.partition("@")[0]
    known = dict.fromkeys([*stage_names(), *store.stages()])
    if stage not in known:
        raise RequestError(f"{reference}: '{stage}' is not a stage, and there is no artifact. {nearest(stage, known)}")
    return (store, *store.resolve(reference))


def opened(store: Store, reference: str) -> Artifact:
    """Return the artifact, after checking its payload."""
    found, stage, version = find(store, reference)
    return found.open(stage, version)
