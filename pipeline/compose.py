"""From a command line to a checked configuration, with all that is wrong in it said at once.

Hydra stops at the first wrong override, and takes some that no stage ever reads. Here every override is looked at by
itself, so that one answer names every fault, each with the nearest right name. Nothing in this module imports torch.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.artifacts import NAME
from pipeline.config import DataConfig, PipelineConfig, SourceConfig, faults, nearest, source_name, stage_names
from pipeline.endpoints import address_fault, is_endpoint
from pipeline.errors import RequestError
from pipeline.trainer_options import SOURCES, option_names, own_place

CONF = Path(__file__).resolve().parent.parent / "conf"
COMMANDS = ("status", "artifacts", "chat", "new")  # words that stand first, without a `=`
OPEN_MAPPING = re.compile(
    r"(?P<mapping>\w+\.(trainer|inputs|columns|codes))(\.\w+)+"
)  # new keys need no Hydra's `+` here
REFUSED = (HydraException, OmegaConfBaseException, ValueError)  # what Hydra raises for a wrong override


def register_schema() -> None:
    """Make the typed schema known to Hydra as `schema`, the first entry of conf/config.yaml."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra ends the process with status 1 by itself
    ConfigStore.instance().store(name="schema", node=PipelineConfig)


def normalize(overrides: Iterable[str]) -> list[str]:
    """What Hydra is given for what a person writes.

    `dpo.trainer.loss_type=ipo` is Hydra's `++dpo.trainer.loss_type=ipo`. Every stage has a `peft` node of its own, so
    `peft.rank=4` makes all of them follow it; a stage's own `dpo.peft.rank=8` comes later and wins.
    """
    given = list(overrides)
    keys = dict.fromkeys(text.partition("=")[0].lstrip("+") for text in given)
    shared = [key for key in keys if re.fullmatch(r"peft\.\w+", key)]
    followers = [f"{node}.{key}=${{{key}}}" for key in shared for node in _nodes_with_peft()]
    opened = ("++" + text.lstrip("+") if OPEN_MAPPING.match(text.lstrip("+")) else text for text in given)
    return [*followers, *opened]


def load(overrides: Sequence[str]) -> PipelineConfig:
    """The configuration that these overrides ask for.

    Raises `RequestError` with every fault found, one per line.
    """
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed, wrong = _parse(overrides)
        swept = [o for o in parsed if o.is_sweep_override()]
        wrong += [f"{_text(o)}: several values need -m; a list is written {_key(o)}=[a,b]." for o in swept]
        config, found = _examined([_text(o) for o in parsed if o not in swept])
    if wrong or found or config is None:
        raise RequestError(_listed([*wrong, *found]))
    return config


def check(overrides: Sequence[str]) -> None:
    """Refuse a command line, sweeps included: every value of a sweep is looked at before the first job starts."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed, found = _parse(overrides)
        found += [f"{_text(o)}: it stands for no value." for o in parsed if o.is_sweep_override() and not _values(o)]
        for request in _requests(parsed):
            found += _examined(request)[1]
    if found:
        raise RequestError(_listed(list(dict.fromkeys(found))))


def to_config(composed: DictConfig) -> PipelineConfig:
    """The composed configuration as plain dataclasses: once, at the door.

    Raises `RequestError` with every fault found. A job of a sweep comes this way only: `check` looked at each value,
    not at every combination.
    """
    config, found = _converted(composed)
    if found or config is None:
        raise RequestError(_listed(found))
    return config


def check_values(config: PipelineConfig) -> Iterator[str]:
    """Every value that its key cannot have, and every unknown name in a `trainer:` or `inputs:` mapping."""
    yield from _wrong_names(config)
    yield from faults(config)
    yield from _unusable(config)
    yield from _wrong_sources(config)
    yield from _wrong_labeling(config)
    yield from _wrong_writer(config)
    yield from _indivisible_batches(config)
    for stage in stage_names():
        node = getattr(config, stage)
        known = [*type(node)().inputs, *getattr(node, "policies", ())]
        for role in node.inputs:
            if role not in known:
                there = nearest(role, known) if known else f"The stage {stage} has none that can be named."
                yield f"{stage}.inputs.{role}: no such input. {there}"
    for stage in SOURCES:
        for name in getattr(config, stage).trainer:
            if own_place(stage, name):
                yield f"{stage}.trainer.{name}: set by the pipeline; use {own_place(stage, name)}."
            elif name not in option_names(stage):
                yield f"{stage}.trainer.{name}: no such option. {nearest(name, option_names(stage))}"


def _wrong_names(config: PipelineConfig) -> Iterator[str]:
    """Names that become folders and files, and the stage that is asked for."""
    if config.stage not in ("all", *stage_names()):
        from pipeline.stages import PLANNED  # knows all stages: only asked where it is needed

        if config.stage not in PLANNED:
            yield f"stage={config.stage}: no such stage. {nearest(config.stage, ['all', *stage_names()])}"
    rule = "letters, digits, '.', '_' and '-' only, and begins with a letter or a digit."
    if not NAME.fullmatch(config.project):
        yield f"project={config.project}: a project's name has {rule}"
    if config.tag is not None and not NAME.fullmatch(config.tag):
        yield f"tag={config.tag}: a tag has {rule}"
    if config.tag == "latest":
        yield "tag=latest: 'latest' always names the newest version; choose another tag."
    if not config.outputs.strip():
        yield "outputs=: it has to name a folder."


def _indivisible_batches(config: PipelineConfig) -> Iterator[str]:
    """Micro batches that would make the global batch another than the one asked for."""
    micro = config.launch.micro_batch_size
    for name, node in (("sft", config.sft), ("dpo", config.dpo), ("reward", config.reward), ("ppo", config.ppo)):
        if micro and node.batch_size > micro and node.batch_size % micro:
            yield f"launch.micro_batch_size={micro}: does not divide {name}.batch_size={node.batch_size}."
    if config.ppo.rollouts % config.ppo.batch_size:
        yield f"ppo.rollouts={config.ppo.rollouts}: not a multiple of ppo.batch_size={config.ppo.batch_size}."


def _wrong_sources(config: PipelineConfig) -> Iterator[str]:
    """What is read from the user's own files."""
    data = config.data
    if data.source == "files":
        if data.path is None and data.sources is None:
            yield "data.path has to be given: data.path=…"
        if data.path is not None and data.sources is not None:
            yield f"data.path={data.path}: give either data.path or data.sources, not both."
        given = {"data.path": data.path, "data.test_path": data.test_path}
        given |= {f"data.sources[{place}].path": one.path for place, one in enumerate(data.sources or [])}
        for key, value in given.items():
            yield from _wrong_paths(key, value)
        yield from _wrong_mixture(data)
        yield from _without_tokenizer(config)
        yield from _wrong_languages(data.cleaning.languages)
        split = data.split
        shares = split.dev + split.test + split.preference + split.rl
        if shares >= 1:
            yield f"data.split: the shares add up to {shares:g}, so nothing is left for SFT."


def _wrong_paths(key: str, value: Any) -> Iterator[str]:
    """What names no files, where something is named."""
    paths = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(path, str) and path for path in paths):
        yield f"{key}={value}: it has to be a file, a folder or a glob, or a list of them."


def _wrong_mixture(data: DataConfig) -> Iterator[str]:
    """Sources are told apart by their names, in the rows, the report and the manifest; each is read in its own way."""
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
    """What is about tokens, where no tokenizer says what they are."""
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
        from pipeline.data.cleaning.language import check_languages  # loads a model: only asked where it is needed

        try:
            check_languages(languages)
        except ValueError as error:
            yield f"data.cleaning.languages: {error}"


def _wrong_labeling(config: PipelineConfig) -> Iterator[str]:
    """Who is asked what, where it does not go together."""
    labeling, names = config.labeling, config.labeling.annotators or []
    if labeling.backend == "file" and not labeling.path:
        yield "labeling.path has to be given: labeling.path=…"
    if names and labeling.backend not in ("embedded", "remote"):
        yield f"labeling.annotators={names}: people answer in Argilla: labeling=embedded or labeling=remote."
    for name in dict.fromkeys(names):
        if not NAME.fullmatch(name):
            yield f"labeling.annotators: '{name}' has to have letters, digits, '.', '_' and '-' only."
        if names.count(name) > 1:
            yield f"labeling.annotators: '{name}' occurs twice."
    asked = len(names) or labeling.simulated
    if labeling.backend != "file" and labeling.overlap > asked:
        yield f"labeling.overlap={labeling.overlap}: there are {asked} to rank each prompt."
    if labeling.question == "pairwise" and config.sample.answers != 2:
        yield f"labeling.question=pairwise asks about two answers: sample.answers=2, not {config.sample.answers}."


def _wrong_writer(config: PipelineConfig) -> Iterator[str]:
    """Who drafts, and answers to what: a policy has its name already, what is behind an endpoint needs one."""
    draft = config.draft
    yield from _wrong_paths("draft.prompts", draft.prompts)
    if is_endpoint(draft.writer):
        fault = address_fault(draft.writer)
        if fault:
            yield f"draft.writer: {fault}"
        if not draft.model:
            yield "draft.model has to be given: the name that the model has at draft.writer."
    elif draft.model:
        yield f"draft.model={draft.model}: only behind an endpoint; draft.writer={draft.writer} is a policy."


def _unusable(node: Any, prefix: str = "") -> Iterator[str]:
    """Values of the right type that nothing can be done with: infinite numbers, empty lists."""
    for name, value in _items(node):
        key = prefix + name
        if isinstance(value, float) and (math.isinf(value) or (isinstance(node, Mapping) and math.isnan(value))):
            yield f"{key}={value}: it has to be a finite number."
        elif isinstance(value, list) and not value:
            yield f"{key}=[]: it needs at least one entry."
        elif is_dataclass(value) or isinstance(value, Mapping):
            yield from _unusable(value, key + ".")


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return ((str(key), value) for key, value in node.items())
    return ((item.name, getattr(node, item.name)) for item in fields(node))


@dataclass(frozen=True)
class _Names:
    """All that can stand before a `=`."""

    keys: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]  # group -> its options


@cache
def _names() -> _Names:
    groups = {p.name: tuple(sorted(f.stem for f in p.glob("*.yaml"))) for p in CONF.iterdir() if p.is_dir()}
    return _Names(tuple(_keys(PipelineConfig)), {"experiment": (), **groups})


def _keys(node: type, prefix: str = "") -> Iterator[str]:
    for item in fields(node):
        yield prefix + item.name
        if is_dataclass(item.type):
            yield from _keys(cast(type, item.type), f"{prefix}{item.name}.")


@cache
def _nodes_with_peft() -> tuple[str, ...]:
    return tuple(stage for stage in stage_names() if f"{stage}.peft" in _names().keys)


def _meant(text: str) -> str | None:
    """What a word without `=` may stand for: a stage, or a command that has to come first."""
    if text in stage_names():
        return f"Did you mean 'stage={text}'?"
    meant = [] if "=" in text else get_close_matches(text, COMMANDS, n=1)
    return f"Did you mean the command '{meant[0]}'?" if meant else None


def _parse(overrides: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides that are of the right form, and a message for each that is not."""
    parser, parsed, wrong = OverridesParser.create(), [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            wrong.append(f"{text}: not of the form key=value. {_meant(text) or _quoting(text)}")
            continue
        if override.is_delete():
            wrong.append(f"{text}: nothing can be taken out of the configuration. Give the key another value.")
        else:
            parsed.append(override)
    return parsed, wrong


def _quoting(text: str) -> str:
    key, _, value = text.partition("=")
    return f"Quote a value with special characters: \"{key}='{value}'\"." if value else "Write key=value."


def _requests(parsed: Sequence[Override]) -> Iterator[list[str]]:
    """The requests in which every value of every sweep occurs, each beside the first values of the others."""
    options = {_text(o): _values(o) for o in parsed if o.is_sweep_override()}
    fixed = [_text(o) for o in parsed if not o.is_sweep_override()]
    first = {text: values[0] for text, values in options.items() if values}
    yield [*fixed, *first.values()]
    for text, values in options.items():
        for value in values[1:]:
            yield [*fixed, *{**first, text: value}.values()]


def _values(override: Override) -> list[str]:
    """`dpo.beta=0.1,0.3` as `dpo.beta=0.1` and `dpo.beta=0.3`; `peft=glob(*)` as all its options."""
    key, value = _text(override).partition("=")[0], override.value()
    if isinstance(value, Glob):
        return [f"{key}={name}" for name in value.filter(list(_names().groups.get(_key(override), ())))]
    return [f"{key}={one}" for one in override.sweep_string_iterator()]


def _examined(overrides: list[str]) -> tuple[PipelineConfig | None, list[str]]:
    """A configuration from overrides of the right form, and every fault in it; without the overrides at fault."""
    parsed, found = _parse(overrides)
    known = []
    for override in parsed:
        fault = _unknown(override)
        found += [fault] if fault else []
        known += [] if fault else [override]
    try:
        composed = compose("config", normalize(map(_text, known)))
    except REFUSED as error:
        right, wrong = _tried_alone(known)
        if not wrong:
            return None, [*found, _first_line(error)]
        found += wrong
        composed = compose("config", normalize(right))
    config, faulty = _converted(composed)
    return config, [*found, *faulty]


def _converted(composed: DictConfig) -> tuple[PipelineConfig | None, list[str]]:
    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            return None, [f"{key} has to be given: {key}=…" for key in missing]
        config = cast(PipelineConfig, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        return None, [f"{error.full_key}: {_first_line(error)}."]
    return config, list(check_values(config))


def _unknown(override: Override) -> str | None:
    """What is wrong with the name before the `=`, or with the option of a group behind it."""
    key, value, names = _key(override), override.value(), _names()
    group, at, node = key.partition("@")
    if key.startswith("hydra"):
        return None
    last = key.rpartition(".")[2]
    if key in names.keys and key != last and isinstance(value, str) and value in names.groups.get(last, ()):
        return f"{key}={value}: an option is chosen with {last}@{key}={value}."
    if group in names.groups and not isinstance(value, dict):
        if at and node not in names.keys:
            return f"{key}: no such key. {_nearest_key(node)}"
        named = ["null" if one is None else str(one) for one in (value if isinstance(value, list) else [value])]
        wrong = [option for option in named if option not in names.groups[group]]
        return f"{key}={wrong[0]}: no such option. {_options(group, wrong[0])}" if wrong else None
    opened = OPEN_MAPPING.fullmatch(key)
    if key in names.keys or (opened and opened["mapping"] in names.keys):
        return None
    return f"{key}: no such key. {_nearest_key(opened['mapping'] if opened else key)}"


def _options(group: str, option: str) -> str:
    options = _names().groups[group]
    return nearest(option, options) if options else f"There is none in {CONF / group} yet."


def _tried_alone(known: list[Override]) -> tuple[list[str], list[str]]:
    """Each override by itself, on top of the right group choices: (the right ones, a message for each wrong one)."""
    choices = [o for o in known if _key(o).partition("@")[0] in _names().groups and not isinstance(o.value(), dict)]
    right: list[str] = []
    wrong: list[str] = []
    for override in [*choices, *(o for o in known if o not in choices)]:
        beside = [text for text in right if text in map(_text, choices)]
        try:
            compose("config", normalize([*beside, _text(override)]))
            right.append(_text(override))
        except REFUSED as error:
            wrong.append(f"{_text(override)}: {_first_line(error.__cause__ or error)}")
    return right, wrong


def _nearest_key(key: str) -> str:
    """The nearest key: among those of the same node if there is such a node, else with the same last name."""
    keys = [*_names().keys, *_names().groups]
    node, _, last = key.rpartition(".")
    siblings = [k for k in keys if k.rpartition(".")[0] == node] if node in keys else []
    if siblings:
        return nearest(key, siblings)
    close = get_close_matches(key, keys, n=1, cutoff=0.6) or [k for k in keys if k.rpartition(".")[2] == last][:1]
    return f"Did you mean '{close[0]}'?" if close else "`python -m pipeline --help` lists all keys."


def _key(override: Override) -> str:
    return cast(str, override.get_key_element().lstrip("+~"))


def _text(override: Override) -> str:
    return cast(str, override.input_line)


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^Error merging override .*?: ", "", line).rstrip(".")


def _listed(found: Sequence[str]) -> str:
    head = "This request is wrong:" if len(found) == 1 else f"This request is wrong in {len(found)} places:"
    return "\n".join([head, *(f"  {fault}" for fault in found)])
