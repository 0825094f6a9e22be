"""Turns a command line into a checked configuration and reports all its faults at once.

Hydra stops at the first wrong override, and accepts some that no stage reads. This module checks each override
separately, so one message lists all faults, each with the nearest valid name. Nothing here imports torch.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from operator import attrgetter
from pathlib import Path
from typing import cast

import yaml
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pipeline.config.checks import check_values
from pipeline.config.composing import chosen_groups, compose_config, is_choice, parse_override
from pipeline.config.following import Followed, contradictions, followed
from pipeline.config.names import CONF, FORMER_KEYS, all_names, nearest_key, of_launcher, option_hint, word_hint
from pipeline.config.schema import PipelineConfig, stage_names, tuned_stages
from pipeline.errors import RequestError, listed

# new keys in these mappings need no `+`
OPEN_MAPPING = re.compile(r"(?P<mapping>\w+\.(trainer|inputs|columns|codes|request))(\.\w+)+")
OPENED = re.compile(rf"{OPEN_MAPPING.pattern}=|\w+\.(trainer|inputs|columns|codes|request)=\{{")  # one key or several
REFUSED = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)  # raised for a wrong override


@cache
def register_schema() -> None:
    """Register the typed schema with Hydra as `schema`, the first entry of conf/config.yaml."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # otherwise Hydra exits with status 1
    ConfigStore.instance().store(name="schema", node=PipelineConfig)


def normalize(overrides: Iterable[str]) -> list[str]:
    """Translate the overrides that a user writes into Hydra's.

    `dpo.trainer.loss_type=ipo` becomes `++dpo.trainer.loss_type=ipo`; `data.columns={…}` likewise. Each training stage
    has its own `peft` node, so `peft.rank=4` is passed on to all of them. A stage's `dpo.peft.rank=8` comes later and
    takes precedence.
    """
    given = list(overrides)
    keys = dict.fromkeys(text.partition("=")[0].lstrip("+") for text in given)
    shared = [key for key in keys if re.fullmatch(r"peft\.\w+", key)]
    followers = [f"{node}.{key}=${{{key}}}" for key in shared for node in tuned_stages()]
    opened = ("++" + text.lstrip("+") if OPENED.match(text.lstrip("+")) else text for text in given)
    return [*followers, *opened]


@dataclass(frozen=True)
class Loaded:
    """A checked configuration, and the choices that were derived from the request."""

    config: PipelineConfig
    followed: Sequence[Followed]


def load(overrides: Sequence[str]) -> PipelineConfig:
    """Return the configuration that the overrides describe.

    Raises `RequestError` with all faults, one per line.
    """
    return read(overrides).config


def read(overrides: Sequence[str]) -> Loaded:
    """Like `load`, but also return the derived choices."""
    parsed, wrong = _parse(overrides)
    swept = [o for o in parsed if o.is_sweep_override()]
    wrong += [_needs_m(o) for o in swept]
    wrong += [f"{text}: a launcher runs the requests of a sweep: add -m." for text in of_launcher(overrides)[0]]
    loaded, found = _examined(CONF, tuple(_text(o) for o in parsed if o not in swept))
    if wrong or found or loaded is None:
        raise RequestError(listed([*wrong, *found]))
    return replace(loaded, config=deepcopy(loaded.config))  # the caller may change it, the cached one stays


def with_followed(overrides: Sequence[str]) -> list[str]:
    """Return the overrides together with the derived choices. Raises `RequestError` as `load` does."""
    return [*overrides, *(one.override for one in read(overrides).followed)]


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Return the requests of a sweep: one per combination of values, in the order in which Hydra runs them."""
    parsed, _ = _parse(of_launcher(overrides)[1])
    values = [_values(o) if o.is_sweep_override() else [_text(o)] for o in parsed]
    return [list(job) for job in itertools.product(*values)]


def check(overrides: Sequence[str]) -> None:
    """Check a command line with all values of its sweeps, before the first job starts.

    Raises `RequestError` with all faults.
    """
    parsed, found = _parse(of_launcher(overrides)[1])
    found += [f"{_text(o)}: it stands for no value." for o in parsed if o.is_sweep_override() and not _values(o)]
    for request in _requests(parsed):
        found += _examined(CONF, tuple(request))[1]
    if found:
        raise RequestError(listed(list(dict.fromkeys(found))))


def _parse(overrides: Sequence[str]) -> tuple[list[Override], list[str]]:
    """Return the well-formed overrides, and a message for each other one."""
    found, wrong = [], []
    for text in overrides:
        try:
            override = parse_override(text)
        except HydraException:
            wrong.append(f"{text}: not of the form key=value. {word_hint(text)}")
            continue
        if override.is_delete():
            wrong.append(f"{text}: nothing can be taken out of the configuration. Give the key another value.")
        else:
            found.append(override)
    return found, wrong


def _needs_m(override: Override) -> str:
    key = _key(override)
    if key == "stage":
        return f"{_text(override)}: a request has one stage, and what it needs is made first. Name the last: stage=all."
    return f"{_text(override)}: several values need -m; a list is written {key}=[a,b]."


def _requests(parsed: Sequence[Override]) -> Iterator[list[str]]:
    """Yield requests that cover every value of every sweep, each with the first values of the other sweeps."""
    options = {_text(o): _values(o) for o in parsed if o.is_sweep_override()}
    fixed = [_text(o) for o in parsed if not o.is_sweep_override()]
    first = {text: values[0] for text, values in options.items() if values}
    yield [*fixed, *first.values()]
    for text, values in options.items():
        for value in values[1:]:
            yield [*fixed, *{**first, text: value}.values()]


def _values(override: Override) -> list[str]:
    """Split `dpo.beta=0.1,0.3` into `dpo.beta=0.1` and `dpo.beta=0.3`, and `peft=glob(*)` into all its options."""
    key, value = _text(override).partition("=")[0], override.value()
    if isinstance(value, Glob):
        return [f"{key}={name}" for name in value.filter(list(all_names().groups.get(_key(override), ())))]
    return [f"{key}={one}" for one in override.sweep_string_iterator()]


@lru_cache(maxsize=256)  # it takes 0.1 to 0.3 s, and a run checks its request before it reads it
def _examined(conf: Path, overrides: tuple[str, ...]) -> tuple[Loaded | None, list[str]]:
    """Return the configuration (None if it cannot be built) and all faults. Wrong overrides are left out of it."""
    register_schema()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return _examine(conf, overrides)


def _examine(conf: Path, overrides: Sequence[str]) -> tuple[Loaded | None, list[str]]:
    parsed, found = _parse(overrides)
    known = []
    for override in parsed:
        fault = _unknown(override)
        found += [fault] if fault else []
        known += [] if fault else [override]
    right = [_text(override) for override in known]
    try:
        composed = compose_config(conf, normalize(right))
    except REFUSED as error:
        right, wrong = _tried_alone(conf, known)
        if not wrong:
            return None, [*found, _first_line(error)]
        found += wrong
        composed = compose_config(conf, normalize(right))
    try:
        # `chosen_groups` takes time, and usually nothing follows: check that first
        added = followed(composed, chosen_groups(conf, normalize(right))) if followed(composed, ()) else []
        if added:
            composed = compose_config(conf, normalize([*right, *(one.override for one in added)]))
        found += contradictions(composed)
    except REFUSED as error:
        return None, [*found, _first_line(error)]
    config, faulty = _converted(composed)
    return Loaded(config, added) if config else None, [*found, *faulty]


def _converted(composed: DictConfig) -> tuple[PipelineConfig | None, list[str]]:
    with open_dict(composed):
        del composed["hydra"]
    try:
        config = cast(PipelineConfig, OmegaConf.to_object(composed))
    except MissingMandatoryValue:  # it names the first one only
        return None, [f"{key} has to be given: {key}=…" for key in sorted(OmegaConf.missing_keys(composed))]
    except OmegaConfBaseException as error:  # a broken interpolation
        return None, [f"{error.full_key}: {_first_line(error)}."]
    _fill_followers(config)
    return config, list(check_values(config))


def _fill_followers(config: PipelineConfig) -> None:
    """Merge each mapping over the one that it is `added_to`, and copy each list that is `list_like` another.

    A node's own entries take precedence.
    """
    for stage in stage_names():
        node = getattr(config, stage)
        for item in fields(node):
            if "added_to" in item.metadata:
                followed_mapping = attrgetter(item.metadata["added_to"])(config)
                setattr(node, item.name, {**followed_mapping, **getattr(node, item.name)})
            elif "list_like" in item.metadata and getattr(node, item.name) is None:
                setattr(node, item.name, deepcopy(attrgetter(item.metadata["list_like"])(config)))


def _unknown(override: Override) -> str | None:
    """Return the fault in the key before the `=`, or in the option of a group after it; None if both are known."""
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
    if key in FORMER_KEYS:
        return f"{key}: no such key. {FORMER_KEYS[key]}"
    opened = OPEN_MAPPING.fullmatch(key)
    if key in known.keys or (opened and opened["mapping"] in known.keys):
        return None
    return f"{key}: no such key. {nearest_key(opened['mapping'] if opened else key)}"


def _tried_alone(conf: Path, known: list[Override]) -> tuple[list[str], list[str]]:
    """Try each override alone, with the valid group choices: (valid overrides, a message for each other one)."""
    choices = [override for override in known if is_choice(override)]
    right: list[str] = []
    wrong: list[str] = []
    for override in [*choices, *(o for o in known if o not in choices)]:
        beside = [text for text in right if text in map(_text, choices)]
        try:
            compose_config(conf, normalize([*beside, _text(override)]))
            right.append(_text(override))
        except REFUSED as error:
            wrong.append(f"{_text(override)}: {_reason(override, error)}")
    return right, wrong


def _reason(override: Override, error: BaseException) -> str:
    """Return why an override is wrong, in the user's words where OmegaConf's are its own."""
    line = _first_line(error.__cause__ or error)
    if "is not a ListConfig" in line:
        key, _, value = _text(override).partition("=")
        return f"it has to be a list: {key}=[{value}]"
    return line


def _key(override: Override) -> str:
    return cast(str, override.get_key_element().lstrip("+~"))


def _text(override: Override) -> str:
    return cast(str, override.input_line)


def _first_line(error: BaseException) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^Error merging override .*?: ", "", line).rstrip(".")
