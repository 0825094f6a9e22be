"""What `artifacts prune` deletes: whatever nobody named, and that nothing which somebody named was made from.

People's judgements are the most expensive thing in a project, so what they were asked about and what came back always
stays.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.store.artifacts import Store
from pipeline.store.hashing import DIGITS

VERSION = re.compile(rf"[0-9a-f]{{{DIGITS}}}")  # a folder of any other name is somebody's own

Version = tuple[str, str]  # stage and version


@dataclass(frozen=True)
class Pruning:
    """What can go, each with the reason; and what is being written now, by whom."""

    removable: dict[Version, str]
    busy: dict[Version, str]


def pruning(store: Store, prunable: Container[str]) -> Pruning:
    """What can go of the stages that are `prunable`: unfinished versions that no process writes, and finished ones that
    are neither `latest` nor tagged nor below such.

    While something is being written, finished versions stay: nothing says yet which of them it is made from.
    """
    stages = [stage for stage in store.stages() if stage in prunable]
    unfinished = [(stage, version) for stage in store.stages() for version in store.unfinished(stage)]
    busy = {one: writer for one in unfinished if (writer := store.writer(*one))}
    deletable = [one for one in unfinished if one not in busy and one[0] in stages and VERSION.fullmatch(one[1])]
    removable = dict.fromkeys(deletable, "unfinished")
    if not busy:
        kept = _kept(store)
        finished = [(stage, version) for stage in stages for version in store.versions(stage)]
        removable |= {one: "neither latest nor tagged nor below such" for one in finished if one not in kept}
    return Pruning(removable, busy)


def _kept(store: Store) -> set[Version]:
    kept: set[Version] = set()
    for stage in store.stages():
        for version in store.pointers(stage).values():
            kept |= set(_lineage(store, (stage, version)))
    return kept


def _lineage(store: Store, version: Version) -> Iterator[Version]:
    """A version and everything that it was made from, as far as it is in this project."""
    if not store.is_complete(*version):
        return
    yield version
    try:
        inputs = store.read_manifest(*version)["inputs"].values()
    except PipelineError as error:  # what it was made from cannot be known, so nothing can go
        raise PipelineError(f"Nothing was pruned: {error}") from None
    for given in inputs:
        yield from _lineage(store, (given["stage"], given["version"]))
