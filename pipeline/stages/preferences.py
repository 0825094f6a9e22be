"""`preferences`: rankings or ready-made pairs as rows to train on: pooled by majority, no ties, split by prompt."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from labeling.agreement import agreement_metrics
from pipeline.artifacts import Artifact, sources
from pipeline.config import PipelineConfig, PreferencesConfig
from pipeline.data.ledger import OnBadRow
from pipeline.data.loading import load_rankings_or_pairs
from pipeline.data.preferences import preferences_from_pairs, preferences_from_rankings, split_by_prompt
from pipeline.data.rows import write_jsonl
from pipeline.errors import RequestError
from pipeline.stage import FromFiles, FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.labeling.backend == "file":
        return {"rankings": FromFiles("rankings", config.labeling.path)}
    return {"rankings": FromStage("collect")}


def run(config: PreferencesConfig, context: StageContext) -> Metrics:
    files = _files(context.inputs)
    found = load_rankings_or_pairs(files, "auto", cast(OnBadRow, config.on_bad_row), config.max_bad_fraction)
    ledger, agreement = found[2], dict[str, float]()
    if found[0] == "rankings":
        agreement = agreement_metrics(found[1])
        preferences = preferences_from_rankings(found[1])
    else:
        preferences = preferences_from_pairs(found[1])
    if not preferences.rows:
        raise RequestError(f"{files[0]}: no pair comes from it: every comparison is a tie or of two equal answers.")
    train, test = split_by_prompt(preferences.rows, config.test_fraction, config.seed)
    if not train or not test:
        raise RequestError(
            f"{files[0]}: its {len(preferences.rows)} pairs cannot be split by prompt into train and test "
            f"({len(train)} and {len(test)}). Bring rankings of more prompts."
        )
    write_jsonl(context.output_dir / "train.jsonl", train)
    write_jsonl(context.output_dir / "test.jsonl", test)
    ledger.write(context.output_dir / "ledger.jsonl")
    if ledger.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in list(ledger.reasons().items())[:3])
        context.say(f"{ledger.dropped} of {ledger.read} rows were left out: {reasons}; see ledger.jsonl")
    return {
        "read": ledger.read,
        "dropped": ledger.dropped,
        **{name: float(value) for name, value in preferences.counts.items()},
        "train": len(train),
        "test": len(test),
        **agreement,
    }


def _files(given: Mapping[str, Artifact]) -> list[Path]:
    """Of every round in which people were asked, or the user's own."""
    return [file for one in given.values() for file in sources(one) or [one.file("rankings.jsonl")]]


def summary(metrics: Mapping[str, float]) -> str:
    parts = [f"{metrics['pairs']:,.0f} pairs, {metrics['ties']:,.0f} ties"]
    parts += [f"alpha {metrics['alpha']:.2f}"] if "alpha" in metrics else []
    return ", ".join(parts)


STAGE = Stage("preferences", PreferencesConfig, inputs, run, summary)
