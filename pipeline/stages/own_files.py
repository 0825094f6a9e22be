"""Reads the user's demonstrations and turns them into the files of the stage `data`."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from os import cpu_count
from pathlib import Path
from typing import cast

from pipeline.config.schema import DataConfig, MixedSourceConfig, SourceConfig, source_name
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.ledger import STEPS, Ledger, OnBadRow
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Gathered, Measure, Settings, Source, deduplicate, gather
from pipeline.data.prompts.turns import Choice
from pipeline.data.reading.encodings import encoding_of
from pipeline.data.reading.files import SUFFIXES, listed_files
from pipeline.data.row_cleaning import ROLES, RowCleaner
from pipeline.data.rows import Demonstration
from pipeline.data.scratch import Scratch
from pipeline.data.statistics import Statistics
from pipeline.data.writing import line_writer
from pipeline.report.data import write_data_report
from pipeline.services.hub import dataset_files, is_hub_id
from pipeline.stage import FromDataset, FromFiles, FromTokenizer, Metrics, Reference, StageContext, parse_reference
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS

DRAFTS = "synthesize"  # the stage that can be a source of demonstrations
TEST = "test"
TOKENIZER = "tokenizer"
SAID = 2  # most reasons per step in remarks; the report has all


def references(config: DataConfig) -> dict[str, Reference]:
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


def prepare(config: DataConfig, context: StageContext) -> Metrics:
    """Read, clean, deduplicate and split all sources. Writes the split files, `ledger.jsonl` and `report.html`."""
    given = [_source(one, config, context.inputs) for one in _mixed(config)]
    if config.test_path:
        given.append(
            Source(TEST, context.inputs[TEST].external_files, config.format, config.columns, config.codes, tested=True)
        )
    for source in given:
        _say_encodings(source.files, context.say)
    measure, specials = _tokens(context) if TOKENIZER in context.inputs else (None, [])
    settings = _settings(config, context, specials)
    folder = context.output_dir / CHECKPOINTS / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    statistics = Statistics(config.seed, "tokens" if measure else "words")
    with line_writer(context.output_dir / "ledger.jsonl") as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder) as scratch, context.progress("reading", None) as advance:
            gathered = gather(given, settings, scratch, ledger, measure, advance)
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
    _say_what_went(gathered, context.say)
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
        processes=context.runtime.launch.processes or cpu_count() or 1,
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


def _say_what_went(gathered: Gathered, say: Callable[[str], None]) -> None:
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
            listed = "; ".join([*several[:SAID], *(["…"] if len(several) > SAID else [])])
            say(f"{ledger.at(step):,} {words}: {listed if len(several) > 1 else next(iter(reasons))}")
    if ledger.dropped:
        say("each of them is in ledger.jsonl, and report.html shows what went and why")
