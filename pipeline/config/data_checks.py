"""Checks the keys that describe the user's files and model."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from pipeline.config.names import NAME
from pipeline.config.nodes.demonstrations import DataConfig, ReadingConfig, SourceConfig, source_name
from pipeline.config.nodes.people import LabelingConfig
from pipeline.config.schema import PipelineConfig


def keys_of_no_use(config: PipelineConfig) -> Iterator[str]:
    """Yield keys that describe user files or a user model where the request names none."""
    data, model, plain = config.data, config.model, DataConfig()
    if data.source == "playground":
        if config.stage == "shard":
            yield "stage=shard: it is about files of your own: give data.path=FILE, too."
        for key in ("test_path", "format", "columns", "revision", "subset", "part", "shards"):
            if getattr(data, key) != getattr(plain, key):
                yield f"data.{key}={getattr(data, key)}: it is about files of your own: give data.path=FILE, too."
    labeling, unset = config.labeling, LabelingConfig()
    if labeling.backend != "file" and not labeling.gold and not config.preferences.inputs.get("rankings"):
        for key in ("format", "columns", "codes"):
            if getattr(labeling, key) != getattr(unset, key):
                yield f"labeling.{key}={getattr(labeling, key)}: it is about a file: give labeling.path=FILE, too."
    if not model.path:
        for key in ("revision", "chat_template", "thinking"):
            if getattr(model, key) is not None:
                yield f"model.{key}={getattr(model, key)}: it is about a model of your own: give model.path=…, too."


def wrong_sources(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the keys that describe the user's files."""
    data = config.data
    if data.source == "files":
        if data.path is None and data.sources is None:
            yield "data.path has to be given: data.path=…"
        if data.path is not None and data.sources is not None:
            yield f"data.path={data.path}: give either data.path or data.sources, not both."
        given = {"data.path": data.path, "data.test_path": data.test_path}
        given |= {f"data.sources[{place}].path": one.path for place, one in enumerate(data.sources or [])}
        for key, value in given.items():
            yield from wrong_paths(key, value)
        yield from _wrong_mixture(data)
        yield from _without_tokenizer(config)
        yield from _wrong_languages(data.cleaning.languages)
        yield from _wrong_shards(config)
        split = data.split
        shares = split.dev + split.test + split.preference + split.rl
        if shares >= 1:
            yield f"data.split: the shares add up to {shares:g}, so nothing is left for SFT."


def _wrong_shards(config: PipelineConfig) -> Iterator[str]:
    """Yield a shard that is none of the shards, and options in which it differs from `data`, which merges it."""
    data, shard = config.data, config.shard
    if config.stage == "shard" and data.shards == 1:
        yield "data.shards has to be given: in how many shards the files are read, for example data.shards=16."
    elif shard.number > data.shards:
        yield f"shard.number={shard.number}: there are {data.shards} shards (data.shards)."
    for key in [item.name for item in fields(ReadingConfig)] + ["shards"]:
        if getattr(shard, key) != getattr(data, key):
            yield f"shard.{key}={getattr(shard, key)}: a shard follows data.{key}={getattr(data, key)}; set that one."


def wrong_paths(key: str, value: Any) -> Iterator[str]:
    """Yield a fault if a given value is not a path or a list of paths."""
    paths = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(path, str) and path for path in paths):
        yield f"{key}={value}: it has to be a file, a folder or a glob, or a list of them."


def _wrong_mixture(data: DataConfig) -> Iterator[str]:
    """Yield faults in the names of mixed sources, and keys of `data` that belong to one source.

    Names must be unique: rows, the report and the manifest identify a source by its name.
    """
    plain = SourceConfig()
    for key in ("format", "columns", "codes", "revision", "subset", "part") if data.sources else ():
        if getattr(data, key) != getattr(plain, key):
            yield f"data.{key}={getattr(data, key)}: it belongs to data.path; say it of the source it is for."
    names = [source_name(source) for source in data.sources or []]
    for place, name in enumerate(names):
        key = f"data.sources[{place}]"
        if not NAME.fullmatch(name):
            yield f"{key}: its name '{name}' has to have letters, digits, '.', '_' and '-' only: name=…"
        if name in ("tokenizer", "test"):
            yield f"{key}: '{name}' means something else here: give it another name=…"
        if name in names[:place]:
            yield f"{key}: another source is called '{name}', too: give it a name=… of its own."


def _without_tokenizer(config: PipelineConfig) -> Iterator[str]:
    """Yield keys that count or match tokens where no tokenizer is given."""
    data, plain = config.data, DataConfig()
    about: dict[str, Any] = {"max_length": data.max_length, "min_length": data.min_length}
    asked = {key: value for key, value in about.items() if value != getattr(plain, key)}
    if data.cleaning.special_tokens == "drop":
        asked["cleaning.special_tokens"] = "drop"
    for key, value in asked.items() if data.tokenizer is None else ():
        yield (
            f"data.{key}={value}: it is about tokens, and data is read without a model. Say whose tokens: "
            f"data.tokenizer={config.model.path or 'MODEL'} (a folder or a hub id)."
        )


def _wrong_languages(languages: list[str] | None) -> Iterator[str]:
    if languages:
        from pipeline.data.cleaning.language import check_languages  # loads a model: imported only if needed

        try:
            check_languages(languages)
        except ValueError as error:
            yield f"data.cleaning.languages: {error}"
