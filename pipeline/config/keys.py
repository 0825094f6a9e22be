"""All keys of the configuration with their help texts, read from the comments in `pipeline.config.nodes`."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, cast

from pipeline.config.schema import PipelineConfig


@dataclass(frozen=True)
class Key:
    """One key, and its help text in `words`. `node` is the class with the keys below it, or None."""

    name: str
    words: str
    options: tuple[str, ...] = ()
    node: type | None = None


def keys(node: type = PipelineConfig, prefix: str = "") -> Iterator[Key]:
    """Yield every key in the order of the configuration. The keys of a node follow it directly."""
    for item in fields(node):
        below = cast(type, item.type) if is_dataclass(item.type) else None
        words = first_sentence(below) if below else words_of(node, item.name)
        yield Key(prefix + item.name, words, tuple(item.metadata.get("options", ())), below)
        if below:
            yield from keys(below, f"{prefix}{item.name}.")


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every value.

    Nodes in a list have their index in the key. A list of plain values is yielded whole, then entry by entry.
    """
    if is_dataclass(node):
        for item in fields(node):
            yield from leaves(getattr(node, item.name), f"{prefix}.{item.name}" if prefix else item.name)
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{prefix}.{name}")
    elif isinstance(node, list) and any(is_dataclass(one) for one in node):
        for place, one in enumerate(node):
            yield from leaves(one, f"{prefix}[{place}]")
    else:
        yield prefix, node
        if isinstance(node, list):
            yield from ((prefix, one) for one in node)


def words_of(node: type, name: str) -> str:
    """Return a field's help text: the comment in the class that defines it, else a text from its default, or ""."""
    found = (_comments(owner).get(name, "") for owner in node.__mro__ if is_dataclass(owner))
    return next((words for words in found if words), "") or _words_of_default(getattr(node(), name))


def _words_of_default(default: Any) -> str:
    if isinstance(default, str) and (followed := re.fullmatch(r"\$\{([\w.]+)\}", default)):
        return f"follows {followed[1]} unless set"
    if isinstance(default, dict) and default:
        return f"what else to use (a version or a path) for a role: {', '.join(default)}"
    return "none can be pinned" if default == {} else ""


def first_sentence(node: type) -> str:
    """Return the first sentence of a node's docstring, without its full stop."""
    return (inspect.getdoc(node) or "").split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


@cache
def _comments(node: type) -> Mapping[str, str]:
    """Map each field that a class defines to the last comment on the field's lines."""
    source = inspect.getsource(node)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    at = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (definition,) = ast.parse(source).body
    found = {}
    for line in cast(ast.ClassDef, definition).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            beside = [at[number] for number in _lines(line) if number in at]
            found[line.target.id] = beside[-1] if beside else ""
    return found


def _lines(statement: ast.stmt) -> range:
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
