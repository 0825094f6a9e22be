"""Checks the paths in a request: the keys that name them, and the paths that do not exist."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.config.keys import leaves
from pipeline.config.schema import PipelineConfig, followers
from pipeline.data.reading.files import find_files
from pipeline.errors import RequestError
from pipeline.services.hub import is_hub_id
from pipeline.stage import FromFiles
from pipeline.stages.reading import source_references


def with_keys(config: PipelineConfig, written: Any, message: str) -> str:
    """Return a message with the keys that have the value `written` before it, unless it begins with one of them."""
    named = {key for key, value in leaves(config) if value == written and value}
    keys = [key for key, _ in leaves(config) if key in named and _followed(key) not in named]
    if not keys or any(message.startswith(key) for key in keys):
        return message
    return f"{', '.join(keys)}: {message}"


def _followed(key: str) -> str | None:
    """Return the key whose value this one has unless it is set; None if it follows no other."""
    stage, _, name = key.partition(".")
    return f"{followers()[stage]}.{name}" if stage in followers() else None


def missing_files(config: PipelineConfig) -> Iterator[str]:
    """Yield a message for each file, folder or glob of the request that does not exist, for all stages."""
    for paths in named_files(config):
        try:
            find_files(paths)
        except RequestError as error:
            yield with_keys(config, paths, str(error))
    fault = model_fault(config.model.path)
    if fault:
        yield fault


def model_fault(path: str, key: str = "model.path") -> str | None:
    """Return why a path is neither a model folder nor a hub id; None if it is one of them, or empty."""
    place = Path(path).expanduser()
    misspelt = "/" in path and place.parent.is_dir()  # a hub id has no local parent folder
    if not path or place.is_dir() or (is_hub_id(path) and not misspelt and not place.exists()):
        return None
    if place.exists():
        return f"{key}={path}: a file; the model's folder was expected."
    close = get_close_matches(place.name, os.listdir(place.parent), n=1) if misspelt else []
    hint = f" Did you mean {place.parent / close[0]}?" if close else ""
    return f"{key}={path}: neither a folder here nor a hub id of the form owner/name.{hint}"


def named_files(config: PipelineConfig) -> Iterator[Any]:
    """Yield each entry of the request that names files: a path, a glob or a list of these."""
    data, labeling = config.data, config.labeling
    if data.source == "files":
        yield from (one.paths for one in source_references(data).values() if isinstance(one, FromFiles))
    asked = [labeling.path] if labeling.backend == "file" else [labeling.gold, labeling.guidelines]
    yield from (path for path in [*asked, config.draft.prompts] if path)
