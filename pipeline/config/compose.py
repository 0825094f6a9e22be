"""From a command line to a checked configuration, with all that is wrong in it said at once.

Hydra stops at the first wrong override, and takes some that no stage ever reads. Here every override is looked at by
itself, so that one answer names every fault, each with the nearest right name. Nothing in this module imports torch.
"""

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.credentials import credentials
from pipeline.config.following import Followed, contradictions, followed
from pipeline.config.names import CONF, all_names, nearest_key, option_hint, stage_hint, word_hint
from pipeline.config.schema import (
    DataConfig,
    LabelingConfig,
    PipelineConfig,
    SourceConfig,
    faults,
    nearest,
    source_name,
    stage_names,
)
from pipeline.config.trainer_options import SOURCES, option_names, own_place
from pipeline.errors import RequestError, listed
from pipeline.services.endpoints import address_fault, is_endpoint
from pipeline.store.artifacts import NAME

OPEN_MAPPING = re.compile(
    r"(?P<mapping>\w+\.(trainer|inputs|columns|codes))(\.\w+)+"
)  # new keys need no Hydra's `+` here
OPENED = re.compile(rf"{OPEN_MAPPING.pattern}=|\w+\.(trainer|inputs|columns|codes)=\{{")  # one key of it, or several
QUOTED_KEY = re.compile(r"([{,]\s*)(['\"])([\w. -]+)\2\s*:")
REFUSED = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)  # raised for a wrong override


@cache
def register_schema() -> None:
    """Make the typed schema known to Hydra as `schema`, the first entry of conf/config.yaml."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra ends the process with status 1 by itself
    ConfigStore.instance().store(name="schema", node=PipelineConfig)


def normalize(overrides: Iterable[str]) -> list[str]:
    """What Hydra is given for what a person writes.

    `dpo.trainer.loss_type=ipo` is Hydra's `++dpo.trainer.loss_type=ipo`, and `data.columns={…}` likewise. Every
    stage has a `peft` node of its own, so `peft.rank=4` makes all of them follow it; a stage's own `dpo.peft.rank=8`
    comes later and wins.
    """
    given = list(overrides)
    keys = dict.fromkeys(text.partition("=")[0].lstrip("+") for text in given)
    shared = [key for key in keys if re.fullmatch(r"peft\.\w+", key)]
    followers = [f"{node}.{key}=${{{key}}}" for key in shared for node in _nodes_with_peft()]
    opened = ("++" + text.lstrip("+") if OPENED.match(text.lstrip("+")) else text for text in given)
    return [*followers, *opened]


@dataclass(frozen=True)
class Loaded:
    """A checked configuration, and the choices in it that follow from others."""

    config: PipelineConfig
    followed: Sequence[Followed]


def load(overrides: Sequence[str]) -> PipelineConfig:
    """The configuration that these overrides ask for.

    Raises `RequestError` with every fault found, one per line.
    """
    return read(overrides).config


def read(overrides: Sequence[str]) -> Loaded:
    """As `load`, with what was added to the request because it follows from it."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed, wrong = _parse(overrides)
        swept = [o for o in parsed if o.is_sweep_override()]
        wrong += [_needs_m(o) for o in swept]
        loaded, found = _examined([_text(o) for o in parsed if o not in swept])
    if wrong or found or loaded is None:
        raise RequestError(listed([*wrong, *found]))
    return loaded


def with_followed(overrides: Sequence[str]) -> list[str]:
    """The overrides with the choices that follow from them. Raises `RequestError` as `load` does."""
    return [*overrides, *(one.override for one in read(overrides).followed)]


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The requests of a sweep, one for each combination of its values, in the order in which Hydra runs them."""
    parsed, _ = _parse(overrides)
    values = [_values(o) if o.is_sweep_override() else [_text(o)] for o in parsed]
    return [list(job) for job in itertools.product(*values)]


def check(overrides: Sequence[str]) -> None:
    """Refuse a command line, sweeps included: every value of a sweep is looked at before the first job starts."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed, found = _parse(overrides)
        found += [f"{_text(o)}: it stands for no value." for o in parsed if o.is_sweep_override() and not _values(o)]
        for request in _requests(parsed):
            found += _examined(request)[1]
    if found:
        raise RequestError(listed(list(dict.fromkeys(found))))


def check_values(config: PipelineConfig) -> Iterator[str]:
    """Every value that its key cannot have, and every unknown name in a `trainer:` or `inputs:` mapping."""
    yield from _wrong_names(config)
    yield from credentials(config)
    yield from faults(config)
    yield from _unusable(config)
    yield from _of_no_use(config)
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
            yield f"stage={config.stage}: no such stage. {stage_hint(config.stage)}"
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
        rollouts, batch = config.ppo.rollouts, config.ppo.batch_size
        fits = f"ppo.rollouts={-(-rollouts // batch) * batch}"
        yield f"ppo.rollouts={rollouts}: not a multiple of ppo.batch_size={batch}. Give {fits}, for example."


def _of_no_use(config: PipelineConfig) -> Iterator[str]:
    """What is said about files or a model of the user's own where none is given."""
    data, model, plain = config.data, config.model, DataConfig()
    if data.source == "playground":
        for key in ("test_path", "format", "columns", "revision", "subset", "part"):
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
        instead = " instead of a file" if labeling.path else ""
        yield f"labeling.annotators={names}: people answer in Argilla{instead}: labeling=embedded or labeling=remote."
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


@cache
def _nodes_with_peft() -> tuple[str, ...]:
    return tuple(stage for stage in stage_names() if f"{stage}.peft" in all_names().keys)


def _parse(overrides: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides that are of the right form, and a message for each that is not."""
    parser, parsed, wrong = OverridesParser.create(), [], []
    for text in overrides:
        try:
            override = _parsed(parser, text)
        except HydraException:
            wrong.append(f"{text}: not of the form key=value. {word_hint(text)}")
            continue
        if override.is_delete():
            wrong.append(f"{text}: nothing can be taken out of the configuration. Give the key another value.")
        else:
            parsed.append(override)
    return parsed, wrong


def _parsed(parser: OverridesParser, text: str) -> Override:
    """An override; quoted keys of a mapping, as JSON and Python write them, are read without their quotes."""
    try:
        return parser.parse_override(text)
    except HydraException:
        plain = QUOTED_KEY.sub(r"\1\3: ", text)
        if plain == text:
            raise
        return parser.parse_override(plain)


def _needs_m(override: Override) -> str:
    key = _key(override)
    if key == "stage":
        return f"{_text(override)}: a request has one stage, and what it needs is made first. Name the last: stage=all."
    return f"{_text(override)}: several values need -m; a list is written {key}=[a,b]."


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
        return [f"{key}={name}" for name in value.filter(list(all_names().groups.get(_key(override), ())))]
    return [f"{key}={one}" for one in override.sweep_string_iterator()]


def _examined(overrides: list[str]) -> tuple[Loaded | None, list[str]]:
    """A configuration from overrides of the right form, and every fault in it; without the overrides at fault."""
    parsed, found = _parse(overrides)
    known = []
    for override in parsed:
        fault = _unknown(override)
        found += [fault] if fault else []
        known += [] if fault else [override]
    right = [_text(override) for override in known]
    try:
        composed = _composed(right)
    except REFUSED as error:
        right, wrong = _tried_alone(known)
        if not wrong:
            return None, [*found, _first_line(error)]
        found += wrong
        composed = _composed(right)
    try:
        added = followed(composed, _chosen(right))
        composed = _composed([*right, *(one.override for one in added)]) if added else composed
        found += contradictions(composed)
    except REFUSED as error:
        return None, [*found, _first_line(error)]
    config, faulty = _converted(composed)
    return Loaded(config, added) if config else None, [*found, *faulty]


def _composed(overrides: Sequence[str]) -> DictConfig:
    """With Hydra's own node, which says which option each group has."""
    composed: DictConfig = compose("config", normalize(overrides), return_hydra_config=True)
    return composed


def _chosen(overrides: Sequence[str]) -> set[str]:
    """The groups whose options were chosen explicitly, on the command line or by an experiment."""
    loader = GlobalHydra.instance().config_loader()
    return set(loader.compute_defaults_list("config", normalize(overrides), RunMode.RUN).overrides.override_choices)


def _converted(composed: DictConfig) -> tuple[PipelineConfig | None, list[str]]:
    with open_dict(composed):
        del composed["hydra"]
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
    key, value, known = _key(override), override.value(), all_names()
    group, at, node = key.partition("@")
    if key.startswith("hydra"):
        return None
    last = key.rpartition(".")[2]
    if key in known.keys and key != last and isinstance(value, str) and value in known.groups.get(last, ()):
        return f"{key}={value}: an option is chosen with {last}@{key}={value}."
    if group in known.groups and not isinstance(value, dict):
        if at and node not in known.keys:
            return f"{key}: no such key. {nearest_key(node)}"
        named = ["null" if one is None else str(one) for one in (value if isinstance(value, list) else [value])]
        wrong = [option for option in named if option not in known.groups[group]]
        return f"{key}={wrong[0]}: no such option. {option_hint(group, wrong[0])}" if wrong else None
    if key in known.keys and isinstance(value, str) and any(name.startswith(f"{key}.") for name in known.keys):
        meant = f"Did you mean 'stage={key}'?" if key in stage_names() else f"Its keys are {key}.…"
        return f"{key}={value}: this is a group of keys and takes no value. {meant}"
    opened = OPEN_MAPPING.fullmatch(key)
    if key in known.keys or (opened and opened["mapping"] in known.keys):
        return None
    return f"{key}: no such key. {nearest_key(opened['mapping'] if opened else key)}"


def _tried_alone(known: list[Override]) -> tuple[list[str], list[str]]:
    """Each override by itself, on top of the right group choices: (the right ones, a message for each wrong one)."""
    choices = [o for o in known if _key(o).partition("@")[0] in all_names().groups and not isinstance(o.value(), dict)]
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


def _key(override: Override) -> str:
    return cast(str, override.get_key_element().lstrip("+~"))


def _text(override: Override) -> str:
    return cast(str, override.input_line)


def _first_line(error: BaseException) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^Error merging override .*?: ", "", line).rstrip(".")
