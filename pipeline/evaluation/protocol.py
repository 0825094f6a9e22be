"""Checks by the manifests whether policies are compared on equal terms. Differences open the report."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.evaluation.comparison import Comparison, Policy
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import drawing_of, flat, of_stage

ALIKE = ("seed", "peft.method")  # training settings of the arms that alone may explain a difference


class Protocol(NamedTuple):
    """Whether the terms of the comparison are equal, and a sentence about them."""

    equal: bool
    text: str


def protocol(seen: Comparison) -> Protocol | None:
    """Return the terms of the comparison; None with fewer than two policies."""
    if len(seen.policies) < 2:
        return None
    differing = [*_versions(seen), *_starts(seen), *_settings(seen)]
    if differing:
        return Protocol(False, f"Not on equal terms: {'; '.join(differing)}.")
    compared = seen.arms or list(seen.policies)
    *most, last = (policy.label for policy in compared)
    names = f"{', '.join(most)} and {last}" if most else last
    shared = [made.reference for made in (*_common(compared, "sft"), *_common(compared, "preferences"))]
    terms = [f"{names} {'both ' if len(compared) == 2 else ''}come from {' and '.join(shared)}"] if shared else []
    terms.append(f"all policies answered the same {seen.prompts:,} prompts{_decoding(seen.evaluation)}")
    return Protocol(True, f"On equal terms, by the manifests: {', and '.join(terms)}.{''.join(_own_prompts(seen))}")


def _own_prompts(seen: Comparison) -> Iterator[str]:
    """Yield a sentence for each arm that also trained on prompts without judgements."""
    for arm in seen.arms:
        given = arm.artifact.inputs.get("prompts") if arm.artifact else None
        if given is not None and given.stage == "data":
            yield f" {arm.label} also answered prompts without judgements ({given.reference}) while it was trained."


def _common(policies: list[Policy], stage: str) -> list[Artifact]:
    found = [{made.reference: made for made in of_stage(policy.made, stage)} for policy in policies]
    return [made for reference, made in found[0].items() if all(reference in own for own in found)]


def _decoding(evaluation: Artifact) -> str:
    decoding = drawing_of(evaluation)
    words = {"temperature": "temperature {:g}", "top_p": "top-p {:g}", "max_new_tokens": "at most {} tokens"}
    settings = ", ".join(form.format(decoding[key]) for key, form in words.items() if decoding.get(key) is not None)
    return f" with the same decoding ({settings})" if settings else ""


def _versions(seen: Comparison) -> Iterator[str]:
    """Yield the stages that a fair comparison shares, but that have different versions in the policies' lineages."""
    shared = [name for name, stage in seen.stages.items() if stage.is_shared]
    for stage in ("model", *shared):  # `model`: policies may start from a user's model
        versions = {
            policy.label: "+".join(sorted(made.version for made in found))
            for policy in seen.policies
            if (found := of_stage(policy.made, stage))
        }
        if len(set(versions.values())) > 1:
            pairs = ", ".join(f"{label} from {version}" for label, version in versions.items())
            yield f"the policies come from different versions of ‘{stage}’ ({pairs})"


def _starts(seen: Comparison) -> Iterator[str]:
    """Yield a difference if the arms started from different policies."""
    starts = {arm.label: arm.artifact.inputs["policy"].reference for arm in seen.arms if _has_start(arm)}  # type: ignore[union-attr]
    if len(set(starts.values())) > 1:
        yield f"the arms start from different policies ({', '.join(f'{a} from {b}' for a, b in starts.items())})"


def _has_start(arm: Policy) -> bool:
    return arm.artifact is not None and "policy" in arm.artifact.inputs


def _settings(seen: Comparison) -> Iterator[str]:
    """Yield the settings in `ALIKE` that differ between the arms."""
    settings = {arm.label: dict(flat(arm.artifact.manifest.get("config", {}))) for arm in seen.arms if arm.artifact}
    for name in ALIKE:
        values = {label: own[name] for label, own in settings.items() if name in own}
        if len(set(values.values())) > 1:
            yield f"{name} differs ({', '.join(f'{label} {value}' for label, value in values.items())})"
