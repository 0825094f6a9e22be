"""Derives choices from given keys: `data.path=FILE` alone means `data=files`.

Without this, the named files would be ignored and the run would train on the playground.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from labeling.backends import BACKENDS


@dataclass(frozen=True)
class Rule:
    """Keys that have an effect only with one option of their group."""

    group: str
    option: str
    keys: tuple[str, ...]
    others: tuple[str, ...]  # options that ignore these keys
    instead: str  # why the other options ignore them, as part of a message
    decides: str = ""  # the key of the group that determines the data to read

    def decided_by(self, composed: DictConfig) -> str:
        return f"{self.decides}={_value(composed, self.decides)}"


RULES = (
    Rule("model", "hub", ("model.path",), ("tiny",), "is the embedded tiny base"),
    Rule("data", "files", ("data.path", "data.sources"), ("playground",), "reads no files", "data.source"),
    Rule("labeling", "file", ("labeling.path",), tuple(BACKENDS), "reads no file", "labeling.backend"),
)


@dataclass(frozen=True)
class Followed:
    """A choice added to a request, and the key that it is derived from."""

    override: str
    key: str

    @property
    def text(self) -> str:
        return f"{self.key} is given, so {self.override}"


def followed(composed: DictConfig, chosen: Collection[str]) -> list[Followed]:
    """Return the choices to add to this configuration. Groups in `chosen` were chosen explicitly and do not change."""
    return [
        Followed(f"{rule.group}={rule.option}", key) for rule, key in _ignored(composed) if rule.group not in chosen
    ]


def contradictions(composed: DictConfig) -> Iterator[str]:
    """Yield a message for each key that the chosen option of its group ignores."""
    for rule, key in _ignored(composed):
        option = composed.hydra.runtime.choices[rule.group]
        setting = f"{rule.group}={option}" if option != rule.option else rule.decided_by(composed)
        yield (
            f"{key}={_value(composed, key)}: {setting} was chosen, which {rule.instead}. "
            f"Leave one of the two out, or choose {rule.group}={rule.option}."
        )


def _ignored(composed: DictConfig) -> Iterator[tuple[Rule, str]]:
    for rule in RULES:
        given = [key for key in rule.keys if _value(composed, key)]
        if given and not _is_obeyed(composed, rule):
            yield rule, given[0]


def _is_obeyed(composed: DictConfig, rule: Rule) -> bool:
    if rule.decides:
        return bool(_value(composed, rule.decides) == rule.option)
    return bool(composed.hydra.runtime.choices[rule.group] not in rule.others)


def _value(composed: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(composed, key, throw_on_missing=False, default=None)
    except OmegaConfBaseException:  # a broken interpolation: reported where values are checked
        return None
