"""`data`: demonstrations and prompts, from the playground or from the user's files.

Writes `sft.jsonl` and `dev.jsonl` (demonstrations), `preference.jsonl` and `rl.jsonl` (prompts), and `test.jsonl`
(prompts with a reference answer). For the user's files, it also writes `report.html`, and `ledger.jsonl` with the
place and reason of every row that was left out.

The result does not depend on a model, so all models share one version. Rows that are too long for a model are left
out when it is trained.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from os import cpu_count
from pathlib import Path
from typing import Any, cast

from pipeline.config.nodes.demonstrations import DataConfig, MixedSourceConfig, SourceConfig, source_name
from pipeline.config.schema import PipelineConfig
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.ledger import STEPS, Ledger, OnBadRow
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Gathered, Measure, Settings, Source, deduplicate, gather
from pipeline.data.prompts.turns import Choice
from pipeline.data.reading.encodings import encoding_of
from pipeline.data.reading.files import SUFFIXES, listed_files
from pipeline.data.row_cleaning import ROLES, RowCleaner
from pipeline.data.rows import Demonstration, opening, write_jsonl
from pipeline.data.scratch import Scratch
from pipeline.data.splits import split_by_prompt
from pipeline.data.statistics import Statistics
from pipeline.data.writing import line_writer
from pipeline.playground import texts
from pipeline.report.data import write_data_report
from pipeline.services.hub import dataset_files, is_hub_id
from pipeline.stage import (
    FromDataset,
    FromFiles,
    FromTokenizer,
    Metrics,
    Reference,
    Stage,
    StageContext,
    parse_reference,
)
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS

Splits = dict[str, Sequence[Mapping[str, Any]]]

DRAFTS = "synthesize"  # the stage that can be a source of demonstrations
TEST = "test"
TOKENIZER = "tokenizer"
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


def source_references(config: DataConfig) -> dict[str, Reference]:
    """Map names to references: each source, `test` if a test file is named, `tokenizer` if one is named for lengths."""
    named = {source.name or "": _reference(source) for source in _mixed(config)}
    tested = {TEST: FromFiles(TEST, config.test_path)} if config.test_path else {}
    counted = {TOKENIZER: FromTokenizer(config.tokenizer)} if config.tokenizer else {}
    return {**named, **tested, **counted}


def _mixed(config: DataConfig) -> list[MixedSourceConfig]:
    """Return the sources, each with a name."""
    if not config.sources:
        own = {item.name: getattr(config, item.name) for item in fields(SourceConfig)}
        return [MixedSourceConfig(**own, name="files")]
    return [replace(source, name=source_name(source)) for source in config.sources]


def _reference(source: SourceConfig) -> Reference:
    path = source.path
    if isinstance(path, str) and not Path(path).expanduser().exists():
        if path.partition("@")[0] == DRAFTS:
            return parse_reference(path)
        if _names_a_dataset(path):
            return FromDataset(path, source.revision, source.subset, source.part)
    return FromFiles("files", path)


def _names_a_dataset(path: str) -> bool:
    """Whether a path that does not exist can be a hub dataset, and is not a misspelt file."""
    here = Path(path).parent.exists() or path.lower().endswith(SUFFIXES)
    return "/" in path and is_hub_id(path) and not here


def from_files(config: DataConfig, context: StageContext) -> Metrics:
    """Read, clean, deduplicate and split all sources. Writes the split files, `ledger.jsonl` and `report.html`."""
    sources = _sources(config, context)
    measure, specials = _tokens(context) if TOKENIZER in context.inputs else (None, [])
    settings = _settings(config, context, specials)
    folder = context.output_dir / CHECKPOINTS / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    statistics = Statistics(config.seed, "tokens" if measure else "words")
    with line_writer(context.output_dir / "ledger.jsonl") as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder) as scratch, context.progress("reading", None) as advance:
            gathered = gather(sources, settings, scratch, ledger, measure, advance)
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


def _sources(config: DataConfig, context: StageContext) -> list[Source]:
    """Return all sources, those of test prompts last; remark on files that are not UTF-8."""
    sources = [_source(one, config, context.inputs) for one in _mixed(config)]
    if config.test_path:
        files = context.inputs[TEST].external_files
        sources.append(Source(TEST, files, config.format, config.columns, config.codes, tested=True))
    for source in sources:
        _say_encodings(source.files, context.say)
    return sources


def _source(one: MixedSourceConfig, config: DataConfig, inputs: Mapping[str, Artifact]) -> Source:
    """Return a source with its files, including those of all rounds if people answered in several."""
    name = one.name or ""
    others = {other.name for other in _mixed(config)} - {name}
    rounds = [role for role in inputs if re.fullmatch(rf"{re.escape(name)}(_\d+)?", role) and role not in others]
    files = [file for role in rounds for file in _files(inputs[role])]
    return Source(name, files, one.format, one.columns, one.codes, one.weight)


def _files(given: Artifact) -> Sequence[Path]:
    """Return the files of an input, downloaded if it is a hub dataset."""
    if given.stage == "dataset":
        source = given.source
        return dataset_files(source["path"], source["revision"], source["subset"], source["part"])
    return given.external_files or [given.file("demonstrations.jsonl")]


def _modes(config: DataConfig, specials: Sequence[str]) -> dict[str, str]:
    """Return the mode of each cleaning rule; `special_tokens` is off if no special tokens are known."""
    modes = {**asdict(config.cleaning), "language": "drop" if config.cleaning.languages else "off"}
    return modes if specials else {**modes, "special_tokens": "off"}


def _settings(config: DataConfig, context: StageContext, specials: Sequence[str]) -> Settings:
    modes = asdict(config.cleaning)
    roles, languages = modes.pop(ROLES), modes.pop("languages") or []
    return Settings(
        RowCleaner(Cleaner(modes, specials, languages), mend_roles=roles == "mend"),
        on_bad_row=cast(OnBadRow, config.on_bad_row),
        max_bad_fraction=config.max_bad_fraction,
        shortest=config.min_length,
        longest=config.max_length,
        threshold=config.similarity,
        drop_near=config.near_duplicates == "drop",
        conflicts=config.conflicts,
        processes=context.runtime.launch.data_processes or cpu_count() or 1,
    )


def _tokens(context: StageContext) -> tuple[Measure, list[str]]:
    """Return a function that counts the tokens of rows with the named tokenizer, and its special tokens.

    A conversation that the chat template refuses is counted by its texts; SFT decides whether to use it.
    """
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.chat.tokenizers import load_tokenizer

    source = context.inputs[TOKENIZER].source
    tokenizer, remarks = load_tokenizer(source["path"], revision=source.get("revision"))
    for remark in remarks:
        context.say(f"data.tokenizer: {remark}")
    chat = ChatFormat(tokenizer)

    def of_texts(row: Demonstration) -> int:
        return len(tokenizer("\n".join(turn["content"] for turn in row["messages"]))["input_ids"])

    def measure(rows: Sequence[Demonstration]) -> list[int]:
        found = chat.lengths([row["messages"] for row in rows])
        return [one if isinstance(one, int) else of_texts(row) for row, one in zip(rows, found, strict=True)]

    return measure, chat.specials


def _say_encodings(files: Sequence[Path], say: Callable[[str], None]) -> None:
    for file in files:
        encoding = encoding_of(file)
        if encoding != "utf-8":
            say(f"{file} is not UTF-8: read as {encoding}")


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


STAGE = Stage("data", DataConfig, inputs, run, summary, version=3, quick=True, is_shared=True)
