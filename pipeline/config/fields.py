"""Fields that carry their own limits and allowed values, for the schema of the configuration."""

from dataclasses import field
from typing import Any

from omegaconf import II, OmegaConf

OUTSIDE = {"outside": True}  # not hashed: where an input lies (what lies there is), or how long to wait for people


def half(whole: int) -> int:
    """Half of it, or all of an odd number: what `ppo.batch_size` is unless it is set."""
    return whole // 2 if whole % 2 == 0 else whole


OmegaConf.register_new_resolver("half", half, replace=True)


def number(default: Any, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Any:
    """A numeric field with limits: `least` and `most` are allowed values, `above` is not."""
    return field(default=default, metadata={"least": least, "above": above, "most": most})


def choice(default: str, *options: str, outside: bool = False) -> Any:
    """A field that takes one of a few words. (OmegaConf refuses `Literal`.) One that is `outside` is not hashed."""
    return field(default=default, metadata={"options": options, **(OUTSIDE if outside else {})})


def option(*options: str) -> Any:
    """A field that takes one of a few words, or none."""
    return field(default=None, metadata={"options": options})


def rate_of(stage: str) -> Any:
    """A learning rate that follows `<stage>.peft.method` by the table `learning_rates`, unless it is set."""
    followed = f"learning_rates.{stage}.${{{stage}.peft.method}}"
    return number(II(f"oc.select:{followed},1"), above=0, most=1)  # 1: of an unknown method, which is refused by name


def many(*default: Any) -> Any:
    """A list field."""
    return field(default_factory=lambda: list(default))


def roles(*names: str) -> Any:
    """The inputs a stage can have pinned to a reference: `<stage>.inputs.<role>=REF`."""
    return field(default_factory=lambda: dict.fromkeys(names), metadata=OUTSIDE)
