"""Dataclass fields with limits and allowed values, for the configuration schema."""

from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar, cast

from omegaconf import II, OmegaConf

Node = TypeVar("Node")

OUTSIDE = {"outside": True}  # not hashed: paths of inputs (their content is hashed), or how long to wait for people
AT_ONCE = {"least": 1, "above": None, "most": None, **OUTSIDE}  # not hashed either: how many at the same time


def half(whole: int) -> int:
    """Return half of an even number, and an odd number unchanged: the default of `ppo.batch_size`."""
    return whole // 2 if whole % 2 == 0 else whole


def where_same(one: Any, other: Any, value: Any, otherwise: Any) -> Any:
    """Return `value` if `one` equals `other`, else `otherwise`. Selects the learning rate that a stage follows."""
    return value if one == other else otherwise


def where_policy(writer: str, drawn_by: str) -> str:
    """Return who draws a writer's answers: an endpoint's own are not a policy's, so `generation` does not matter."""
    return "hf" if is_endpoint(writer) else drawn_by


def is_endpoint(writer: str) -> bool:
    """Whether a writer is a URL, not a policy."""
    return writer.startswith(("http://", "https://"))


OmegaConf.register_new_resolver("where_policy", where_policy, replace=True)
OmegaConf.register_new_resolver("half", half, replace=True)
OmegaConf.register_new_resolver("where_same", where_same, replace=True)


def number(default: Any, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Any:
    """A numeric field with limits: `least` and `most` are inclusive, `above` is exclusive."""
    return field(default=default, metadata={"least": least, "above": above, "most": most})


def choice(default: str, *options: str, outside: bool = False) -> Any:
    """A field that takes one of `options` (OmegaConf does not support `Literal`); `outside`: not part of the hash."""
    return field(default=default, metadata={"options": options, **(OUTSIDE if outside else {})})


def option(*options: str) -> Any:
    """A field that takes one of `options`, or None."""
    return field(default=None, metadata={"options": options})


def rate_of(stage: str) -> Any:
    """A learning rate from the table `learning_rates`, selected by `<stage>.peft.method`, unless it is set."""
    followed = f"learning_rates.{stage}.${{{stage}.peft.method}}"
    return number(II(f"oc.select:{followed},1"), above=0, most=1)  # 1: unknown method, refused elsewhere


def rate_like(stage: str, other: str) -> Any:
    """A learning rate that follows another stage's, or the table `learning_rates` if their `peft.method` differs."""
    method, table = f"${{{stage}.peft.method}}", f"${{oc.select:learning_rates.{other}.${{{stage}.peft.method}},1}}"
    followed = f"where_same:{method},${{{other}.peft.method}},${{{other}.learning_rate}},{table}"
    return number(II(followed), above=0, most=1)


def following(node: type[Node], other: str) -> Node:
    """Return a node in which each option follows the option of the same name in `other`, unless it is set.

    Options with an interpolation as their default keep it, and so does a mapping that is `added_to` another.
    """
    items = [
        item for item in fields(cast(Any, node)) if "added_to" not in item.metadata and "${" not in str(item.default)
    ]
    return node(**{item.name: _follow(item, f"{other}.{item.name}") for item in items})


def _follow(item: Any, key: str) -> Any:
    if is_dataclass(item.type):
        return following(cast(type, item.type), key)
    return {role: II(f"{key}.{role}") for role in item.default_factory()} if item.name == "inputs" else II(key)


def added_to(key: str) -> Any:
    """A mapping that is merged over the mapping at `key` when the configuration is composed.

    An interpolation does not work: it is the same object as the other mapping, so setting an entry would change both.
    """
    return field(default_factory=dict, metadata={"added_to": key})


def list_like(key: str) -> Any:
    """A list that is copied from the list at `key` when the configuration is composed, unless it is set."""
    return field(default=None, metadata={"list_like": key})


def many(*default: Any) -> Any:
    """A list field with these default entries."""
    return field(default_factory=lambda: list(default))


def roles(*names: str) -> Any:
    """The inputs of a stage that a user can pin to a reference: `<stage>.inputs.<role>=REF`."""
    return field(default_factory=lambda: dict.fromkeys(names), metadata=OUTSIDE)
