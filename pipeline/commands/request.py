"""What all commands have in common: their arguments, the project they are about, and what they call an artifact."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pipeline import compose
from pipeline.artifacts import MANIFEST, Artifact, Store
from pipeline.config import PipelineConfig, nearest, stage_names
from pipeline.errors import RequestError

OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_][\w.@/]*=")


class Parser(argparse.ArgumentParser):
    """argparse, with its faults said like all others: in one message, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}. {self.format_usage().strip()}")


def parser(command: str, about: str) -> Parser:
    """A parser for one command; key=value arguments are taken out before it sees them."""
    more = "key=value: project=NAME and outputs=DIR say where to look; any other key is as for `python -m pipeline`."
    return Parser(prog=f"python -m pipeline {command}", description=about, epilog=more)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the words, the key=value overrides), wherever they stand."""
    overrides = [text for text in arguments if OVERRIDE.match(text)]
    return [text for text in arguments if text not in overrides], overrides


def project(overrides: Sequence[str]) -> tuple[PipelineConfig, Store]:
    """The configuration that the overrides ask for, and the store of its project."""
    config = compose.load(overrides)
    return config, Store(Path(config.outputs), config.project)


def find(store: Store, reference: str) -> tuple[Store, str, str]:
    """The store, stage and version that `sft`, `sft@friday` or the path of a version means."""
    path = Path(reference).expanduser().absolute()
    if "@" not in reference and (path / MANIFEST).is_file():
        return Store(path.parents[2], path.parents[1].name), path.parents[0].name, path.name
    stage = reference.partition("@")[0]
    known = dict.fromkeys([*stage_names(), *store.stages()])
    if stage not in known:
        raise RequestError(f"{reference}: '{stage}' is no stage, and no artifact lies there. {nearest(stage, known)}")
    return (store, *store.resolve(reference))


def opened(store: Store, reference: str) -> Artifact:
    """The artifact itself, its payload checked."""
    found, stage, version = find(store, reference)
    return found.open(stage, version)
