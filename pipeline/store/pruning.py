"""Selects the versions that `artifacts prune` deletes: neither named (`latest`, tags) nor upstream of a named version.

People's judgements are the most expensive part of a project, so their tasks and answers are never deleted. Shards stay
until they are merged: each is the work of a job, and only the last one is `latest`.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.store.artifacts import Store
from pipeline.store.hashing import DIGITS

VERSION = re.compile(rf"[0-9a-f]{{{DIGITS}}}")  # folders with other names are the user's

Version = tuple[str, str]  # stage and version


@dataclass(frozen=True)
class Pruning:
    """Versions that can be deleted, each with the reason; those being written, with their writers; unmerged shards."""

    removable: dict[Version, str]
    busy: dict[Version, str]
    unmerged: list[Version]


def pruning(store: Store, prunable: Container[str], merged_by: Mapping[str, str]) -> Pruning:
    """Select the versions of `prunable` stages that can be deleted. `merged_by` is the stage that merges shards.

    These are unfinished versions that no process writes, and finished ones that are neither `latest` nor tagged nor
    upstream of such a version, nor shards that are not merged. While a version is being written, no finished one is
    selected: its inputs are not yet known.
    """
    stages = [stage for stage in store.stages() if stage in prunable]
    unfinished = [(stage, version) for stage in store.stages() for version in store.unfinished(stage)]
    busy = {one: writer for one in unfinished if (writer := store.writer(*one))}
    deletable = [one for one in unfinished if one not in busy and one[0] in stages and VERSION.fullmatch(one[1])]
    removable = dict.fromkeys(deletable, "unfinished")
    unmerged = [] if busy else _unmerged(store, merged_by)
    if not busy:
        kept = _kept(store) | {*unmerged}
        finished = [(stage, version) for stage in stages for version in store.versions(stage)]
        removable |= {one: "neither latest nor tagged nor below such" for one in finished if one not in kept}
    return Pruning(removable, busy, unmerged)


def _unmerged(store: Store, merged_by: Mapping[str, str]) -> list[Version]:
    """Return the finished shards that are part of no version yet, by what manifests say of their shards."""
    shards = [(stage, version) for stage in merged_by for version in store.versions(stage)]
    merging = {merged_by[stage] for stage, _ in shards}
    runtimes = [_manifest(store, (m, version)).get("runtime", {}) for m in merging for version in store.versions(m)]
    merged = {version for runtime in runtimes for version in runtime.get("shards", ())}
    return [one for one in shards if one[1] not in merged]


def _kept(store: Store) -> set[Version]:
    kept: set[Version] = set()
    for stage in store.stages():
        for version in store.pointers(stage).values():
            kept |= set(_lineage(store, (stage, version)))
    return kept


def _lineage(store: Store, version: Version) -> Iterator[Version]:
    """Yield a version and all versions it was made from, within this project.

    Raises `PipelineError` if a manifest is damaged.
    """
    if not store.is_complete(*version):
        return
    yield version
    for given in _manifest(store, version)["inputs"].values():
        yield from _lineage(store, (given["stage"], given["version"]))


def _manifest(store: Store, version: Version) -> Mapping[str, Any]:
    """Return a manifest. Raises `PipelineError` if it is damaged: what it was made from is unknown, so all stays."""
    try:
        return store.read_manifest(*version)
    except PipelineError as error:
        raise PipelineError(f"Nothing was pruned: {error}") from None
