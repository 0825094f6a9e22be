"""Lineage: the artifacts that an artifact was made from. Pure functions of artifacts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.store.artifact import Artifact


def lineage(artifact: Artifact) -> list[Artifact]:
    """Return the artifact and all artifacts it was made from, each once, upstream first."""
    seen: dict[str, Artifact] = {}

    def visit(made: Artifact) -> None:
        if made.reference not in seen:
            for given in made.inputs.values():
                visit(given)
            seen[made.reference] = made

    visit(artifact)
    return list(seen.values())


def of_stage(artifacts: Iterable[Artifact], stage: str) -> list[Artifact]:
    return [made for made in artifacts if stage_of(made) == stage]


def stage_of(artifact: Artifact) -> str:
    """Return the stage that makes such an artifact now: `judge` for a `reward` made with the former key `as_judge`."""
    return "judge" if artifact.manifest.get("config", {}).get("as_judge") else artifact.stage


def drawing_of(artifact: Artifact) -> dict[str, Any]:
    """Return the decoding options of `sample` or `evaluate`, including the limit on new tokens that it used."""
    decoding = {**artifact.manifest.get("config", {}).get("decoding", {})}
    if "max_new_tokens" in artifact.metrics:
        decoding["max_new_tokens"] = int(artifact.metrics["max_new_tokens"])
    return decoding


def made_from(artifact: Artifact) -> Iterator[tuple[str, str, bool]]:
    """Yield (role, reference, whether it still exists) for each input, including inputs that were removed since."""
    recorded: Mapping[str, Mapping[str, str]] = artifact.manifest.get("inputs", {})
    for role, given in recorded.items():
        yield role, f"{given['stage']}@{given['version']}", role in artifact.inputs
    for role, found in artifact.inputs.items():
        if role not in recorded:
            yield role, found.reference, True


def flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value) of nested settings, as on the command line."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
