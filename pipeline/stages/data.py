"""`data`: demonstrations and prompts, from the playground or from the user's files.

Writes `sft.jsonl` and `dev.jsonl` (demonstrations), `preference.jsonl` and `rl.jsonl` (prompts), and `test.jsonl`
(prompts with a reference answer). For the user's files, it also writes `report.html`, and `ledger.jsonl` with the
place and reason of every row that was left out.

The result does not depend on a model, so all models share one version. Rows that are too long for a model are left
out when it is trained.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from pipeline.config.nodes.demonstrations import DataConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.ledger import STEPS, Ledger
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Gathered, Measure, Settings, Source, deduplicate, gather
from pipeline.data.prompts.turns import Choice
from pipeline.data.reading.files import listed_files
from pipeline.data.rows import Demonstration, opening, write_jsonl
from pipeline.data.scratch import Scratch
from pipeline.data.shards import merge_shards
from pipeline.data.splits import split_by_prompt
from pipeline.data.statistics import Statistics
from pipeline.data.writing import line_writer
from pipeline.playground import texts
from pipeline.report.data import write_data_report
from pipeline.stage import Metrics, Reference, Stage, StageContext
from pipeline.stages import shard
from pipeline.stages.reading import VERSION, say_encodings, settings_of, source_references, sources_of, tokens_of
from pipeline.store.artifacts import CHECKPOINTS

Splits = dict[str, Sequence[Mapping[str, Any]]]

REASONS_SHOWN = 2  # most reasons per step in remarks; the report has all


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.data.source == "playground":
        return {}
    return source_references(config.data)


def run(config: DataConfig, context: StageContext) -> Metrics:
    if config.source == "files":
        return from_files(config, context)
    splits = playground_splits(config)
    for name, rows in splits.items():
        write_jsonl(context.output_dir / f"{name}.jsonl", rows)
    made = float(len(splits["sft"]) + len(splits["dev"]))
    counts = {"read": made, "kept": made, "dropped": 0.0, "duplicates": 0.0}
    return {**counts, **{name: float(len(rows)) for name, rows in splits.items()}}


def playground_splits(config: DataConfig) -> Splits:
    """Return the playground's splits. Its test prompts are about combinations that occur in no other split."""
    world, seed = config.world, config.seed
    total = world.demonstrations + world.dev
    rows = cast(list[Demonstration], list(texts.demonstrations(total, seed=seed, world_seed=seed)))
    parts = split_by_prompt(rows, {"sft": world.demonstrations / total, "dev": world.dev / total}, seed)
    test = cast(list[Demonstration], list(texts.test_demonstrations(world.test_prompts, seed=seed, world_seed=seed)))
    sampling = texts.sampling_prompts(world.preference_prompts, seed=seed, world_seed=seed)
    rl = texts.rl_prompts(world.rl_prompts, seed=seed, world_seed=seed)
    return {
        **parts,
        "preference": [_prompt(text) for text in sampling],
        "rl": [_prompt(text) for text in rl],
        "test": [{"prompt": opening(row["messages"]), "reference": row["messages"][-1]["content"]} for row in test],
    }


def _prompt(text: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": text}]}


def from_files(config: DataConfig, context: StageContext) -> Metrics:
    """Read, clean, deduplicate and split all sources. Writes the split files, `ledger.jsonl` and `report.html`."""
    sources, (measure, specials) = sources_of(config, context), tokens_of(context)
    settings = replace(
        settings_of(config, context, specials),
        max_bad_fraction=config.max_bad_fraction,
        threshold=config.similarity,
        drop_near=config.near_duplicates == "drop",
        conflicts=config.conflicts,
    )
    folder = context.output_dir / CHECKPOINTS / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    statistics = Statistics(config.seed, "tokens" if measure else "words")
    with line_writer(context.output_dir / "ledger.jsonl") as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder) as scratch:
            gathered = _gathered(sources, settings, scratch, ledger, measure, context)
        decisions = deduplicate(gathered, settings)
        rows = write_parts(
            gathered,
            decisions,
            context.output_dir,
            shares=asdict(config.split),
            prompts=cast(Choice, config.prompts),
            seed=config.seed,
            on_kept=lambda row, source, tokens: statistics.add(row["messages"], source, tokens),
        )
    _say_what_was_left_out(gathered, context.say)
    contested = int(decisions.contested.sum())
    write_data_report(
        context.output_dir / "report.html",
        project=context.output_dir.parent.parent.name,
        gathered=gathered,
        rows=rows,
        contested=contested,
        modes=_modes(config, specials),
        statistics=statistics,
    )
    return {**_counts(gathered), "contested": contested, **rows, **statistics.metrics()}


def _gathered(
    sources: Sequence[Source],
    settings: Settings,
    scratch: Scratch,
    ledger: Ledger,
    measure: Measure | None,
    context: StageContext,
) -> Gathered:
    """Return all rows to compare: those of the finished shards if there are any, else read from the files."""
    shards = [given.path for given in context.inputs.values() if given.stage == shard.STAGE.name]
    if shards:
        context.say(f"merged from {len(shards)} shards")
        return merge_shards(shards, sources, settings, scratch, ledger)
    say_encodings([file for source in sources for file in source.files], context.say)
    with context.progress("reading", None) as advance:
        return gather(sources, settings, scratch, ledger, measure, advance)


def _modes(config: DataConfig, specials: Sequence[str]) -> dict[str, str]:
    """Return the mode of each cleaning rule; `special_tokens` is off if no special tokens are known."""
    modes = {**asdict(config.cleaning), "language": "drop" if config.cleaning.languages else "off"}
    return modes if specials else {**modes, "special_tokens": "off"}


def _say_what_was_left_out(gathered: Gathered, say: Callable[[str], None]) -> None:
    """Remark how the files were read, and how many rows each step left out and why."""
    ledger, sentences = gathered.ledger, gathered.sentences()
    for source in gathered.sources:
        first, *others = sentences[source.name]
        name = listed_files(source.files) if len(gathered.sources) == 1 else source.name
        say(f"{name}: {ledger.reads[source.name]:,} rows, {first}")
        for sentence in others:
            say(f"{name}: {sentence}")
    for step, words in STEPS.items():
        reasons = ledger.reasons(step)
        if reasons:
            several = [f"{count:,} x {reason}" for reason, count in reasons.items()]
            listed = "; ".join([*several[:REASONS_SHOWN], *(["…"] if len(several) > REASONS_SHOWN else [])])
            say(f"{ledger.at(step):,} {words}: {listed if len(several) > 1 else next(iter(reasons))}")
    if ledger.dropped:
        say("each of them is in ledger.jsonl, and report.html shows what went and why")


def _counts(gathered: Gathered) -> Metrics:
    """Return counts of all rows, rows left out per step, and rows that each cleaning rule changed or flagged."""
    ledger = gathered.ledger
    return {
        "read": ledger.read,
        "kept": ledger.kept,
        "dropped": ledger.dropped,
        "duplicates": ledger.duplicates,
        **{f"dropped/{step}": ledger.at(step) for step in STEPS if ledger.at(step)},
        **{f"changed/{rule}": rows for rule, rows in gathered.changed.items()},
        **{f"flagged/{rule}": rows for rule, rows in gathered.flagged.items()},
    }


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['kept']:,.0f} of {metrics['read']:,.0f} rows kept, {metrics['test']:,.0f} test prompts"


STAGE = Stage(
    "data", DataConfig, inputs, run, summary, version=VERSION, quick=True, is_shared=True, work=shard.all_shards
)
