"""From a command line to a checked configuration, with all that is wrong in it said at once.

Hydra stops at the first wrong override. Here each override is tried alone against the group choices, so that one
answer names every fault, each with the nearest right name. Nothing in this module imports torch.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import PipelineConfig, faults, nearest
from pipeline.errors import RequestError
from pipeline.trainer_options import OWN, SOURCES, option_names

CONF = Path(__file__).resolve().parent.parent / "conf"
OPEN_MAPPING = re.compile(r"(?P<stage>\w+)\.(trainer|inputs)\.\w+")  # new keys are welcome here without Hydra's `+`


def register_schema() -> None:
    """Make the typed schema known to Hydra as `schema`, the first entry of conf/config.yaml."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra ends the process with status 1 by itself
    ConfigStore.instance().store(name="schema", node=PipelineConfig)


def normalize(overrides: Iterable[str]) -> list[str]:
    """`dpo.trainer.loss_type=ipo` means what Hydra writes as `++dpo.trainer.loss_type=ipo`."""
    plain = (override.lstrip("+") if OPEN_MAPPING.match(override.lstrip("+")) else override for override in overrides)
    return ["++" + override if OPEN_MAPPING.match(override) else override for override in plain]


def load(overrides: Sequence[str]) -> PipelineConfig:
    """The configuration that these overrides ask for.

    Raises `RequestError` with every fault found, one per line.
    """
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return _load(list(overrides))


def check(overrides: Sequence[str]) -> None:
    """Refuse a command line, sweeps included: every value of a sweep is looked at before the first job starts."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        single, swept = [], []
        for override in _parse(overrides):
            (swept if override.is_sweep_override() else single).append(override)
        base = [_text(o) for o in single]
        if not swept:
            _load(base)
        for override in swept:
            for value in override.sweep_string_iterator():
                _load([*base, f"{override.input_line.partition('=')[0]}={value}"])


def _load(overrides: list[str]) -> PipelineConfig:
    found: list[str] = []
    try:
        composed = compose("config", normalize(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        right, found = _tried_alone(overrides)
        found = found or [_first_line(error)]
        composed = compose("config", right)
    found += [f"{key} has to be given: {key}=…" for key in sorted(OmegaConf.missing_keys(composed))]
    if not OmegaConf.missing_keys(composed):
        config = to_config(composed)
        found += check_values(config)
    if found:
        raise RequestError(_listed(found))
    return config


def to_config(composed: DictConfig) -> PipelineConfig:
    """The composed configuration as plain dataclasses: once, at the door."""
    return cast(PipelineConfig, OmegaConf.to_object(composed))


def check_values(config: PipelineConfig) -> Iterator[str]:
    """Every value out of range and every unknown name in a `trainer:` mapping."""
    yield from faults(config)
    for stage in SOURCES:
        for name in getattr(config, stage).trainer:
            if name in OWN:
                yield f"{stage}.trainer.{name}: set by the pipeline; use {OWN[name].replace('<stage>', stage)}."
            elif name not in option_names(stage):
                yield f"{stage}.trainer.{name}: no such option. {nearest(name, option_names(stage))}"


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser, parsed, wrong = OverridesParser.create(), [], []
    for text in normalize(overrides):
        try:
            parsed.append(parser.parse_override(text))
        except HydraException:
            wrong.append(f"{text}: not of the form key=value. Quote values with special characters: \"key='…'\".")
    if wrong:
        raise RequestError(_listed(wrong))
    return parsed


def _text(override: Override) -> str:
    return cast(str, override.input_line)


def _groups() -> dict[str, list[str]]:
    """Group name -> its options, from the folders of conf/."""
    return {p.name: sorted(f.stem for f in p.glob("*.yaml")) for p in CONF.iterdir() if p.is_dir()}


def _keys(node: type, prefix: str = "") -> Iterator[str]:
    for item in fields(node):  # type: ignore[arg-type]
        yield prefix + item.name
        if is_dataclass(item.type):
            yield from _keys(cast(type, item.type), f"{prefix}{item.name}.")


def _tried_alone(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Each override by itself on top of the right group choices: (the right ones, a message for each wrong one)."""
    groups, keys = _groups(), sorted(_keys(PipelineConfig))
    parsed = _parse(overrides)
    choices = [o for o in parsed if o.key_or_group.partition("@")[0] in groups]
    right, wrong = [], []
    for override in choices:
        group, value = override.key_or_group, override.value()
        options = groups[group.partition("@")[0]]
        if value is None or value in options:
            right.append(_text(override))
        else:
            wrong.append(f"{group}={value}: no such option. {nearest(str(value), options)}")
    chosen = list(right)
    for override in parsed:
        if override not in choices:
            fault = _fault(override, chosen, keys, groups)
            wrong.append(fault) if fault else right.append(_text(override))
    return right, wrong


def _fault(override: Override, choices: list[str], keys: list[str], groups: dict[str, list[str]]) -> str | None:
    key, text = override.key_or_group, _text(override)
    if key.startswith("hydra"):
        return None
    if key not in keys and not OPEN_MAPPING.fullmatch(key):
        return f"{key}: no such key. {_nearest_key(key, [*keys, *groups])}"
    try:
        compose("config", [*choices, text])
    except (HydraException, OmegaConfBaseException) as error:
        value = text.partition("=")[2]
        return f"{key}={value}: {_why(error)}"
    return None


def _nearest_key(key: str, keys: list[str]) -> str:
    """The nearest among the whole keys, else the keys of the same last name, else those of the same node."""
    same_name = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    node = key.rpartition(".")[0]
    siblings = [k for k in keys if k.rpartition(".")[0] == node] if node in keys else []
    if same_name and not siblings:
        return f"Did you mean '{same_name[0]}'?"
    return nearest(key, siblings or keys) if siblings else nearest(key, keys).replace("It can be", "Known")


def _why(error: Exception) -> str:
    """The reason under Hydra's wrapping: the cause's first line, without OmegaConf's internals."""
    cause = error.__cause__ or error
    return _first_line(cause)


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^Error merging override .*?: ", "", line)


def _listed(found: Sequence[Any]) -> str:
    head = "This request is wrong:" if len(found) == 1 else f"This request is wrong in {len(found)} places:"
    return "\n".join([head, *(f"  {fault}" for fault in found)])
