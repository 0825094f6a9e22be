"""The model card of an export: lineage, settings and metrics."""

from collections.abc import Mapping

from pipeline.stage import Stage
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import lineage


def model_card(artifact: Artifact, stages: Mapping[str, Stage]) -> str:
    """Return the model card as Markdown, with the front matter that model hubs read."""
    ancestry = lineage(artifact)
    tags = dict.fromkeys(
        made.stage for made in ancestry if made.stage in stages and stages[made.stage].makes == "policy"
    )
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"tags: [{', '.join(tags)}]",
        "---",
        "",
        f"# {artifact.reference}",
        "",
        "## How it was made",
        "",
        "| stage | version | made from | seconds |",
        "|---|---|---|---|",
        *(_row(made) for made in ancestry),
        "",
        "## Measured while it was trained",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in artifact.metrics.items()),
        "",
        "## Settings",
        "",
        *(f"- `{artifact.stage}.{key}`: {value}" for key, value in artifact.manifest.get("config", {}).items()),
        "",
    ]
    if any(made.metrics.get("simulated") for made in ancestry):
        lines += ["The preferences behind this model come from **simulated** annotators, not from people.", ""]
    return "\n".join(lines)


def _row(made: Artifact) -> str:
    origin = ", ".join(f"{role}: {given.reference}" for role, given in made.inputs.items()) or "—"
    return f"| {made.stage} | {made.version} | {origin} | {made.manifest.get('seconds', '—')} |"
