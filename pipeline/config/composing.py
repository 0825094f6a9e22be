"""Composes configurations with Hydra, which takes most of its time for the options of groups.

So these are composed once per process for each choice of options; values are set on a copy, as Hydra itself sets them.
"""

import pickle
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.names import all_names

QUOTED_KEY = re.compile(r"([{,]\s*)(['\"])([\w. -]+)\2\s*:")


@lru_cache(maxsize=4096)  # a millisecond each, and a request is parsed several times
def parse_override(text: str) -> Override:
    """Parse one override. Keys of a mapping may be quoted, as in JSON and Python.

    Raises `HydraException` if it is not well-formed.
    """
    parser = OverridesParser.create()
    try:
        return parser.parse_override(text)
    except HydraException:
        plain = QUOTED_KEY.sub(r"\1\3: ", text)
        if plain == text:
            raise
        return parser.parse_override(plain)


def is_choice(override: Override) -> bool:
    """Whether an override chooses options of a group."""
    group = override.get_key_element().lstrip("+~").partition("@")[0]
    return group in all_names().groups and not isinstance(override.value(), dict)


def compose_config(conf: Path, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration, including Hydra's node, which records the chosen option of each group.

    `overrides` are Hydra's, of the folder `conf` for which Hydra is initialized. Raises Hydra's exceptions.
    """
    given = [parse_override(text) for text in overrides]
    choices, values = _divided(given)
    if not all(_is_plain(override) for override in values):
        return _by_hydra(overrides)
    config: DictConfig = pickle.loads(_options(conf, choices))
    try:
        for override in values:
            add = override.is_force_add()
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=add)
    except (HydraException, OmegaConfBaseException):
        return _by_hydra(overrides)  # its message names the override
    return config


def chosen_groups(conf: Path, overrides: Sequence[str]) -> set[str]:
    """Return the groups with an option chosen explicitly, in the overrides or by an experiment."""
    return set(_chosen(conf, _divided([parse_override(text) for text in overrides])[0]))


def _divided(given: Sequence[Override]) -> tuple[tuple[str, ...], list[Override]]:
    """Return the texts of the overrides that choose options, and the other overrides."""
    choices = tuple(str(override.input_line) for override in given if is_choice(override))
    return choices, [override for override in given if not is_choice(override)]


def _is_plain(override: Override) -> bool:
    own = override.is_hydra_override() or override.package is not None
    return not own and not override.is_add() and not override.is_delete() and not override.is_sweep_override()


@lru_cache(maxsize=512)
def _options(conf: Path, choices: tuple[str, ...]) -> bytes:
    """Return the pickled configuration: a copy of it is made in a fifth of the time that `deepcopy` takes."""
    return pickle.dumps(_by_hydra(choices))


@lru_cache(maxsize=512)
def _chosen(conf: Path, choices: tuple[str, ...]) -> tuple[str, ...]:
    loader = GlobalHydra.instance().config_loader()
    return tuple(loader.compute_defaults_list("config", list(choices), RunMode.RUN).overrides.override_choices)


def _by_hydra(overrides: Sequence[str]) -> DictConfig:
    config: DictConfig = compose("config", list(overrides), return_hydra_config=True)
    return config
