"""Finds the finished shards that a step merges, and names those that are missing."""

from collections.abc import Mapping, Sequence

from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

Version = tuple[str, str]  # stage and version


def finished_shards(step: str, wanted: Mapping[str, Version], store: Store) -> dict[str, Artifact]:
    """Map roles to the artifacts of all shards. Raises `RequestError` with the numbers of those that are not finished.

    `wanted` maps the role of each shard to its version, in the order of their numbers.
    """
    numbers = {version: number for number, version in enumerate(wanted.values(), start=1)}
    missing = [number for version, number in numbers.items() if not store.is_complete(*version)]
    if not missing:
        return {role: store.open(*version) for role, version in wanted.items()}
    stage = next(iter(numbers))[0]
    busy = [numbers[version] for version in numbers if numbers[version] in missing and store.writer(*version)]
    others = len(set(store.versions(stage)) - {version for _, version in numbers})
    raise RequestError(
        f"{step}: {len(missing)} of {len(numbers)} shards of this request are not finished: {as_ranges(missing)}."
        + (f" These are being made: {as_ranges(busy)}." if busy else "")
        + (f" {others} finished shards are of other files or settings." if others else "")
        + f" Make each with the same request and stage={stage} {stage}.number=NUMBER."
    )


def as_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as in `sbatch --array`: 1-3,7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
