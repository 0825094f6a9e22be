"""Fields that carry their own limits and allowed values, for the schema of the configuration."""

from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar, cast

from omegaconf import II, OmegaConf

Node = TypeVar("Node")

OUTSIDE = {"outside": True}  # not hashed: where an input lies (what lies there is), or how long to wait for people


def half(whole: int) -> int:
    """Half of it, or all of an odd number: what `ppo.batch_size` is unless it is set."""
    return whole // 2 if whole % 2 == 0 else whole


def where_same(one: Any, other: Any, value: Any, otherwise: Any) -> Any:
    """`value` where the first two are the same: what a learning rate follows."""
    return value if one == other else otherwise


OmegaConf.register_new_resolver("half", half, replace=True)
OmegaConf.register_new_resolver("where_same", where_same, replace=True)


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


def rate_like(stage: str, other: str) -> Any:
    """A learning rate that follows another stage's; where the two are tuned differently, the table `learning_rates`."""
    method, table = f"${{{stage}.peft.method}}", f"${{oc.select:learning_rates.{other}.${{{stage}.peft.method}},1}}"
    followed = f"where_same:{method},${{{other}.peft.method}},${{{other}.learning_rate}},{table}"
    return number(II(followed), above=0, most=1)


def following(node: type[Node], other: str) -> Node:
    """A node in which every option follows the one of the same name in `other` unless it is set.

    Options whose default is an interpolation stay as they are. `trainer` is merged when the configuration is composed:
    an interpolation of a whole mapping is the other stage's own, so that a key set in it would be set there, too.
    """
    items = [item for item in fields(cast(Any, node)) if item.name != "trainer" and "${" not in str(item.default)]
    return node(**{item.name: _follow(item, f"{other}.{item.name}") for item in items})


def _follow(item: Any, key: str) -> Any:
    if is_dataclass(item.type):
        return following(cast(type, item.type), key)
    return {role: II(f"{key}.{role}") for role in item.default_factory()} if item.name == "inputs" else II(key)


def added_to(key: str) -> Any:
    """A mapping whose entries come on top of another mapping's, when the configuration is composed.

    An interpolation would not do: it is the other mapping itself, so that an entry set here would be set there, too.
    """
    return field(default_factory=dict, metadata={"added_to": key})


def many(*default: Any) -> Any:
    """A list field."""
    return field(default_factory=lambda: list(default))


def roles(*names: str) -> Any:
    """The inputs a stage can have pinned to a reference: `<stage>.inputs.<role>=REF`."""
    return field(default_factory=lambda: dict.fromkeys(names), metadata=OUTSIDE)
