"""Finds the uses of libraries' private names in our source, by its syntax trees."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from tests.places import ROOT

OURS = ("pipeline", "labeling")
ELSEWHERE = "labeling.server.inside"  # runs only in the server's environment, so it cannot be imported here
DOCUMENTED = {"_asdict", "_replace", "_fields", "_make", "_exit", "__future__"}  # public despite the underscore


class Use(NamedTuple):
    """A use of a library's private name in our source."""

    module: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: {self.name}"


@cache
def sources(start: str = "") -> dict[str, ast.Module]:
    """Return the syntax trees of our modules whose dotted names begin with `start`, by these names."""
    files = [file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))]
    files = [file for file in files if dotted(file).startswith(start)]
    return {dotted(file): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def dotted(file: Path) -> str:
    """Return the dotted module name of one of our files."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return all nodes of a syntax tree."""
    return tuple(ast.walk(tree))


def private_uses(module: str, tree: ast.Module) -> Iterator[Use]:
    """Yield the private names of libraries that a module reads, imports, looks up as strings, replaces or overrides."""
    for node in nodes(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not _is_self(node.value):
            if node.attr not in _defined(tree):
                yield Use(module, node.attr, node.lineno)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from _private_imports(module, node)
        elif isinstance(node, ast.Call) and (name := _looked_up(node)) and name not in _defined(tree):
            yield Use(module, name, node.lineno)
        elif isinstance(node, ast.ClassDef):
            yield from _inherited(module, node)
    yield from _replaced(module, tree)


def foreign_imports(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of our module's imports from libraries, also inside functions; "" for a whole module."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if _is_foreign(one.name))
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module and _is_foreign(node.module):
            yield from ((node.module, one.name) for one in node.names)


def is_private(name: str) -> bool:
    """Return whether a name starts with one underscore and is not documented as public."""
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in DOCUMENTED


@cache
def names_on_self(kind: type) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that a class's code reads from `self`, and those that it defines there or in its body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # a class made at run time, or a compiled one
        return frozenset(), frozenset(vars(kind))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_self(node.value)]
    read = {node.attr for node in attributes if isinstance(node.ctx, ast.Load)}
    stored = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    return frozenset(read), frozenset(stored | vars(kind).keys() | inspect.get_annotations(kind).keys())


def foreign_bases(kind: type) -> list[type]:
    """Return the base classes of one of our classes that come from a library and are written in Python."""
    skipped = {*OURS, *sys.stdlib_module_names}
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in skipped]


def _is_foreign(name: str) -> bool:
    root = name.partition(".")[0]
    return root not in OURS and root not in sys.stdlib_module_names


def _is_self(node: ast.expr) -> bool:
    is_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    return is_super or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


@cache
def _defined(tree: ast.AST) -> frozenset[str]:
    """Return the names that a module defines itself: functions, methods, variables, attributes of its objects."""
    names = set()
    for node in nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return frozenset(names)


def _private_imports(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[Use]:
    source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    if isinstance(node, ast.ImportFrom) and (node.level or source.partition(".")[0] in OURS):
        return
    for one in node.names:
        for part in (*source.split("."), *one.name.split(".")):
            if is_private(part):
                yield Use(module, part, node.lineno)


def _looked_up(node: ast.Call) -> str | None:
    """Return the private name in a `getattr`, `setattr`, `hasattr` or `delattr`; None if there is none."""
    if not isinstance(node.func, ast.Name) or node.func.id not in ("getattr", "setattr", "hasattr", "delattr"):
        return None
    name = node.args[1] if len(node.args) > 1 else None
    named = isinstance(name, ast.Constant) and isinstance(name.value, str) and is_private(name.value)
    return name.value if named else None  # type: ignore[union-attr, return-value]


def _replaced(module: str, tree: ast.Module) -> Iterator[Use]:
    """Yield names that a module sets on a library's module or class: `queues.REDIS_CONNECTION.ping = …`."""
    imports = [node for node in nodes(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    foreign = {one.asname or one.name for node in imports if _is_foreign(node.module or "") for one in node.names}
    for node in nodes(tree) if foreign else ():
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            owner: ast.expr = node.value
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and owner.id in foreign:
                yield Use(module, node.attr, node.lineno)


def _inherited(module: str, node: ast.ClassDef) -> Iterator[Use]:
    """Yield private names in a class that a library's base class has, or that none of our classes defines."""
    touched = dict(_touched(node)) if node.bases else {}
    if not touched:
        return
    kind = None if module.startswith(ELSEWHERE) else getattr(import_module(module), node.name, None)
    if kind is None:  # elsewhere, or inside a function
        yield from (Use(module, name, line) for name, line in touched.items() if name not in _defined(node))
        return
    bases = foreign_bases(kind)
    theirs = {name for base in bases for names in names_on_self(base) for name in names}
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in OURS]
    ours = {name for base in own for name in names_on_self(base)[1]}
    yield from (Use(module, name, line) for name, line in touched.items() if name in theirs or name not in ours)


def _touched(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """Yield the private names that a class defines as methods or uses on `self`, with the line of each."""
    for one in nodes(node):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(one.name):
            yield one.name, one.lineno
        elif isinstance(one, ast.Attribute) and is_private(one.attr) and _is_self(one.value):
            yield one.attr, one.lineno
