"""What `data` and `shard` read: the sources of a request, and how their rows are cleaned and measured."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from os import cpu_count
from pathlib import Path
from typing import cast

from pipeline.config.nodes.demonstrations import MixedSourceConfig, ReadingConfig, SourceConfig, source_name
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.ledger import OnBadRow
from pipeline.data.pipeline import Measure, Settings, Source
from pipeline.data.reading.encodings import encoding_of
from pipeline.data.reading.files import SUFFIXES
from pipeline.data.row_cleaning import ROLES, RowCleaner
from pipeline.data.rows import Demonstration
from pipeline.services.hub import dataset_files, is_hub_id
from pipeline.stage import FromDataset, FromFiles, FromTokenizer, Reference, StageContext, parse_reference
from pipeline.store.artifact import Artifact

DRAFTS = "synthesize"  # the stage that can be a source of demonstrations
TEST = "test"
TOKENIZER = "tokenizer"
VERSION = 3  # of `data` and of `shard`: raised when reading, cleaning or comparing change their meaning


def source_references(config: ReadingConfig) -> dict[str, Reference]:
    """Map names to references: each source, `test` if a test file is named, `tokenizer` if one is named for lengths."""
    named = {source.name or "": _reference(source) for source in _mixed(config)}
    tested = {TEST: FromFiles(TEST, config.test_path)} if config.test_path else {}
    counted = {TOKENIZER: FromTokenizer(config.tokenizer)} if config.tokenizer else {}
    return {**named, **tested, **counted}


def _mixed(config: ReadingConfig) -> list[MixedSourceConfig]:
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


def sources_of(config: ReadingConfig, context: StageContext) -> list[Source]:
    """Return all sources, those of test prompts last."""
    sources = [_source(one, config, context.inputs) for one in _mixed(config)]
    if config.test_path:
        files = context.inputs[TEST].external_files
        sources.append(Source(TEST, files, config.format, config.columns, config.codes, tested=True))
    return sources


def _source(one: MixedSourceConfig, config: ReadingConfig, inputs: Mapping[str, Artifact]) -> Source:
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


def settings_of(config: ReadingConfig, context: StageContext, specials: Sequence[str]) -> Settings:
    """Return how rows are cleaned; `specials` are the special tokens of the tokenizer."""
    modes = asdict(config.cleaning)
    roles, languages = modes.pop(ROLES), modes.pop("languages") or []
    return Settings(
        RowCleaner(Cleaner(modes, specials, languages), mend_roles=roles == "mend"),
        on_bad_row=cast(OnBadRow, config.on_bad_row),
        shortest=config.min_length,
        longest=config.max_length,
        processes=context.runtime.launch.data_processes or cpu_count() or 1,
    )


def tokens_of(context: StageContext) -> tuple[Measure | None, list[str]]:
    """Return a function that counts tokens with the named tokenizer, and its special tokens; (None, []) without one.

    A conversation that the chat template refuses is counted by its texts; SFT decides whether to use it.
    """
    if TOKENIZER not in context.inputs:
        return None, []
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


def say_encodings(files: Iterable[Path], say: Callable[[str], None]) -> None:
    """Remark on files that are not UTF-8."""
    for file in files:
        encoding = encoding_of(file)
        if encoding != "utf-8":
            say(f"{file} is not UTF-8: read as {encoding}")
