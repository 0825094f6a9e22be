"""Canaries: private or unpromised names of libraries that we rely on, and a check that each still exists.

This module imports only the checked library, and not pytest, since it also runs in the server's environment.
"""

import ast
import inspect
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions, version
from types import ModuleType
from typing import Any, Literal, NamedTuple

from tests.private_uses import foreign_bases, names_on_self, nodes

Kind = Literal["overridden", "called", "read", "set"]
WHAT = {
    "overridden": "is not called by the library's own code any more, so ours never runs",
    "called": "is gone",
    "read": "is gone",
    "set": "is not read by the library's own code any more, so what we set there has no effect",
}


class Canary(NamedTuple):
    """One name in a library, our use of it, our module that uses it, and the damage without it."""

    of: str  # dotted name of the class or module
    name: str
    kind: Kind
    ours: str
    breaks: str
    takes: str = ""  # parameters, separated by spaces: all of an overridden method, or those that our call passes

    def __str__(self) -> str:
        return f"{self.of}.{self.name}"


class Group(NamedTuple):
    """Several names of one class or module that one of our modules uses in the same way for the same purpose."""

    of: str
    kind: Kind
    ours: str
    breaks: str
    names: dict[str, str]  # name -> parameters

    def canaries(self) -> list[Canary]:
        return [Canary(self.of, name, self.kind, self.ours, self.breaks, takes) for name, takes in self.names.items()]


def fault(canary: Canary) -> str | None:
    """Return a message with the change, our module that relies on it, and the damage; None without a change."""
    try:
        owner = resolved(canary.of)
    except (ImportError, AttributeError):
        return _told(canary, f"{canary.of} is gone")
    if not _holds(owner, canary):
        return _told(canary, f"{canary} {WHAT[canary.kind]}")
    found, wanted = _parameters(owner, canary.name), canary.takes.split()
    if not wanted or found is None:
        return None
    names = [one.name for one in found]
    if canary.kind == "overridden" and names != wanted:
        return _told(canary, f"{canary} takes ({', '.join(names)}), not ({', '.join(wanted)})")
    if lacking := [name for name in wanted if name not in names]:
        return _told(canary, f"{canary} does not take {', '.join(lacking)} any more")
    if canary.kind == "called" and (more := [one.name for one in found if _is_needed(one) and one.name not in wanted]):
        return _told(canary, f"{canary} needs {', '.join(more)}, too")
    return None


def resolved(path: str) -> Any:
    """Return a module or a class by its dotted name."""
    try:
        return import_module(path)
    except ImportError:
        module, _, name = path.rpartition(".")
        if not module:
            raise
        return getattr(resolved(module), name)


def release(module: str) -> str:
    """Return the distribution of a module and its version."""
    root = module.partition(".")[0]
    names = _distributions().get(root)
    return f"{names[0]} {version(names[0])}" if names else f"{root} (of Python itself, or not installed)"


def _is_needed(parameter: inspect.Parameter) -> bool:
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not several


@cache
def _distributions() -> Any:
    return packages_distributions()


def _told(canary: Canary, change: str) -> str:
    return f"{release(canary.of)}: {change}. {canary.ours} relies on it: {canary.breaks}. Look at its source there."


def _holds(owner: Any, canary: Canary) -> bool:
    if isinstance(owner, ModuleType):
        return hasattr(owner, canary.name) and (canary.kind != "set" or canary.name in _names_read(owner))
    read = {name for base in foreign_bases(owner) for name in names_on_self(base)[0]}
    if canary.kind == "set":
        return canary.name in read
    if canary.kind == "overridden":
        return hasattr(owner, canary.name) and canary.name in read
    known = {name for base in foreign_bases(owner) for name in names_on_self(base)[1]}
    return hasattr(owner, canary.name) or canary.name in known


@cache
def _names_read(module: ModuleType) -> frozenset[str]:
    """Return the names that a module's functions look up when they run."""
    tree = ast.parse(inspect.getsource(module))
    functions = [node for node in nodes(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node for function in functions for part in function.body for node in ast.walk(part)]
    return frozenset(node.id for node in inside if isinstance(node, ast.Name))


def _parameters(owner: Any, name: str) -> list[inspect.Parameter] | None:
    """Return the parameters of a method or function without `self`; None for an object that is not callable."""
    found = inspect.getattr_static(owner, name, None)
    function = getattr(found, "__func__", found)
    if not inspect.isfunction(function):
        return None
    return [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
