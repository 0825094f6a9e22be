"""Nodes of demonstrations: the playground's or the user's files, and drafts that people review."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import II, MISSING

from pipeline.config.fields import AT_ONCE, OUTSIDE, choice, number, roles
from pipeline.config.nodes.machine import DRAWN_BY
from pipeline.config.nodes.models import DecodingConfig

DEMONSTRATION_FORMATS = (
    *("alpaca", "sharegpt", "messages", "prompt_completion", "openorca", "pubmedqa", "oasst", "hh", "kto", "log"),
    *("prodigy", "gemini", "chatgpt"),
)
"""The values of `data.format`, besides `auto`; defined in `pipeline.data.formats.table`."""


@dataclass
class WorldConfig:
    """Amount of data that the playground generates."""

    demonstrations: int = number(1900, least=10)  # to train SFT on
    dev: int = number(100, least=1)  # demonstrations to evaluate SFT on
    preference_prompts: int = number(1000, least=1)  # prompts for ranking answers
    rl_prompts: int = number(1000, least=1)  # prompts for PPO
    test_prompts: int = number(512, least=1)  # prompts for testing policies


@dataclass
class SplitConfig:
    """Shares of the prompts in the user's files; the rest is for SFT. A share of 0 reuses SFT's prompts."""

    dev: float = number(0.05, least=0, most=0.9)  # demonstrations to evaluate SFT on
    test: float = number(0.1, least=0, most=0.9)  # prompts for testing policies
    preference: float = number(0.0, least=0, most=0.9)  # prompts for ranking answers
    rl: float = number(0.0, least=0, most=0.9)  # prompts for PPO


@dataclass
class SourceConfig:
    """A source of demonstrations and its format."""

    path: Any = field(default=MISSING, metadata=OUTSIDE)  # a file, folder or glob, or a list of them; or a hub dataset
    format: str = choice("auto", "auto", *DEMONSTRATION_FORMATS)  # auto: detected from the content
    columns: dict[str, str] = field(default_factory=dict)  # our column name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a mark in the file -> its meaning: {1: bad, 5: good}
    revision: str | None = field(default=None, metadata=OUTSIDE)  # of a hub dataset; recorded as a commit
    subset: str | None = None  # of a hub dataset with several subsets
    part: str = "train"  # split of a hub dataset


@dataclass
class MixedSourceConfig(SourceConfig):
    """One of several sources."""

    name: str | None = None  # recorded in each of its rows; absent: taken from its path
    weight: float = number(1.0, above=0, most=100)  # how often each row is drawn: 0.5 is every second row


def source_name(source: MixedSourceConfig) -> str:
    """Return the source's name, or the last part of its path without file endings."""
    path = str(source.path[0] if isinstance(source.path, list) else source.path)
    return source.name or re.split(r"[/\\]", path.rstrip("/"))[-1].partition(".")[0]


@dataclass
class CleaningConfig:
    """The cleaning rules for texts, each on or off; defined in `pipeline/data/cleaning`. `roles` is about speakers."""

    roles: str = choice("drop", "drop", "mend")  # turns in an impossible order
    encoding: str = choice("mend", "off", "mend")  # wrongly decoded text
    invisible: str = choice("mend", "off", "mend")  # control characters, zero-width spaces
    markup: str = choice("mend", "off", "mend")  # HTML tags and entities
    special_tokens: str = choice("mend", "off", "mend", "drop")  # special tokens of a model, written in a text
    empty: str = choice("drop", "off", "drop")  # a turn without text
    refusals: str = choice("flag", "off", "flag", "drop")  # answers that refuse
    personal_data: str = choice("flag", "off", "flag", "mask", "drop")  # addresses, phone and card numbers
    repetition: str = choice("flag", "off", "flag", "drop")  # a phrase repeated many times
    languages: list[str] | None = None  # rows in any other language are left out: [en,de]


@dataclass
class ReadingConfig(SourceConfig):
    """What is read from the user's files, and how each row is cleaned."""

    sources: list[MixedSourceConfig] | None = None  # several sources, instead of `path`
    test_path: Any = field(default=None, metadata=OUTSIDE)  # prompts for testing policies, instead of split.test
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    tokenizer: str | None = field(default=None, metadata=OUTSIDE)  # the model that provides it: a folder or a hub id
    max_length: int | None = number(None, least=8)  # most tokens in a conversation; absent: no limit
    min_length: int = number(0, least=0)  # fewest tokens in a conversation
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)


@dataclass
class DataConfig(ReadingConfig):
    """Demonstrations and prompts, from the playground or from the user's files."""

    source: str = choice("playground", "playground", "files")  # follows data=files or data=playground
    shards: int = field(default=1, metadata=AT_ONCE)  # in how many the files are read, each by a run of its own
    max_bad_fraction: float = number(0.2, least=0, most=1)  # share of bad rows above which the stage fails
    prompts: str = choice("last", "every", "last", "random")  # the turns of a conversation that become prompts
    near_duplicates: str = choice("drop", "drop", "keep")  # prompts that are nearly equal
    similarity: float = number(0.8, above=0.5, most=1)  # lowest Jaccard similarity of near-duplicates
    conflicts: str = choice("keep", "keep", "first", "drop")  # different answers to the same prompt
    seed: int = 0  # of the world and all splits; fixed, so runs with different seeds stay comparable
    split: SplitConfig = field(default_factory=SplitConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    inputs: dict[str, str | None] = roles()


@dataclass
class ShardConfig(ReadingConfig):
    """One shard of the user's files: read and cleaned, for `data` to merge. Options follow `data`."""

    follows: ClassVar[str] = "data"

    number: int = number(1, least=1)  # of this shard: 1 to data.shards
    shards: int = II("data.shards")
    inputs: dict[str, str | None] = roles()


@dataclass
class DraftConfig:
    """Answers drafted by a larger model. Its name changes the version, its address does not."""

    added: ClassVar[dict[str, Any]] = {"drawn_by": "hf"}

    seed: int = II("seed")
    world_seed: int = II("data.seed")
    writer: str = field(default="sft", metadata=OUTSIDE)  # a policy as in `sample.policies`, a folder, or https://…/v1
    model: str | None = None  # the model's name at the endpoint
    prompts: Any = field(default=None, metadata=OUTSIDE)  # files of prompts or demonstrations; absent: playground
    count: int = number(200, least=1)  # number of these prompts, chosen to represent the rest
    generate: int = number(0, least=0)  # number of new prompts written after their example (arXiv 2212.10560)
    system: str | None = None  # system prompt of the writer; not part of the demonstrations
    concurrency: int = field(default=8, metadata=AT_ONCE)  # open requests
    drawn_by: str = choice(II("where_policy:${draft.writer},${generation.by}"), *DRAWN_BY)  # follows generation.by
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=0.7, max_new_tokens=512))
    inputs: dict[str, str | None] = roles("writer", "prompts")


@dataclass
class SynthesizeConfig:
    """Demonstrations made of drafts that people accepted or corrected. Their reviews are hashed with this node."""

    review: bool = True  # false: use drafts without review; their rows are marked as unreviewed
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: use the tasks complete so far
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("draft")
