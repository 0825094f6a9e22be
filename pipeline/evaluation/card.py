"""The model card of an export: what it was made from, how, and what was measured."""

from collections.abc import Iterator

from pipeline.artifacts import Artifact


def model_card(artifact: Artifact) -> str:
    """Markdown with the front matter that model hubs read."""
    lineage = list(_lineage(artifact))
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"tags: [{', '.join(dict.fromkeys(a.stage for a in lineage if a.stage in ('sft', 'dpo', 'ppo')))}]",
        "---",
        "",
        f"# {artifact.reference}",
        "",
        "## How it was made",
        "",
        "| stage | version | made from | seconds |",
        "|---|---|---|---|",
        *(_row(made) for made in lineage),
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
    if any(made.metrics.get("simulated") for made in lineage):
        lines += ["The preferences behind this model come from **simulated** annotators, not from people.", ""]
    return "\n".join(lines)


def _lineage(artifact: Artifact) -> Iterator[Artifact]:
    """The artifact and everything it was made from, each once, upstream first."""
    seen: dict[str, Artifact] = {}

    def visit(made: Artifact) -> None:
        for given in made.inputs.values():
            visit(given)
        seen.setdefault(made.reference, made)

    visit(artifact)
    yield from seen.values()


def _row(made: Artifact) -> str:
    origin = ", ".join(f"{role}: {given.reference}" for role, given in made.inputs.items()) or "—"
    return f"| {made.stage} | {made.version} | {origin} | {made.manifest.get('seconds', '—')} |"
