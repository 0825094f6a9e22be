"""Code that nothing uses goes: names that no module reaches, and parameters that no caller gives."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from labeling.backends import BACKENDS
from tests.private_uses import sources

Function = ast.FunctionDef | ast.AsyncFunctionDef

FROM_OUTSIDE = {"main"}  # Python's own way in
LOOKED_UP = {"import_": "labeling/__main__.py finds a command's function by its name"}
NEVER_GIVEN = {
    "age_text now": "a clock that tests set",
    "Attempts clock": "a clock that tests set",
    "Leases clock": "a clock",
    "Leases seconds": "how long a lease holds",
    "Snapshots seconds": "how long it is between two",
    "calibration bins": "tests count by hand in five",
    "judgements_needed error": "a test compares with the published number, which is for 5%",
    "sample drop_finished": "tests and the benchmark compare with the plain way",
    "search filter": "Argilla's interface",
    "search limit": "Argilla's interface",
    "search offset": "Argilla's interface",
    "search sort": "Argilla's interface",
    "search user_id": "Argilla's interface",
    "serving host": "tests serve on other addresses",
    "serving tls": "tests serve with certificates",
    "padding stage": "a gate is told whose it is",
    "centred stage": "a gate is told whose it is",
    "same_format stage": "a gate is told whose it is",
    "stopping stage": "a gate is told whose it is",
}


def test_every_name_of_a_module_is_reached_from_a_command() -> None:
    """From what modules do when they are loaded, through all that is named there; tests do not count."""
    uses, todo = defaultdict(set), set(FROM_OUTSIDE)
    for module in sources().values():
        for node in module.body:
            names, mentioned = names_bound(node), set(words_in(node))
            for name in names:
                uses[name] |= mentioned
            if not names:
                todo |= mentioned
    seen: set[str] = set()
    while todo:
        seen |= todo
        todo = {word for name in todo for word in uses.get(name, ())} - seen
    assert {name for name in uses if name not in seen and not name.startswith("__")} - LOOKED_UP.keys() == set()


def names_bound(node: ast.stmt) -> list[str]:
    """What a statement of a module defines."""
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def words_in(node: ast.AST) -> Iterator[str]:
    """The names that are used in a statement, also within short texts: some are looked up by them."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and len(part.value) < 80:
            yield from re.findall(r"\w+", part.value)


def test_every_parameter_with_a_default_is_given_by_some_caller() -> None:
    """Of functions that are called by their name at all."""
    modules = sources()
    calls: dict[str, list[ast.Call]] = defaultdict(list)
    for module in modules.values():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                calls[ast.unparse(called(node)).rpartition(".")[2]].append(node)
    never = {
        f"{name} {parameter}"
        for module in modules.values()
        for name, function, bound in functions_of(module)
        for place, parameter in defaults_of(function, bound)
        if calls[name] and not any(gives(call, place, parameter) for call in calls[name])
    }
    assert never - NEVER_GIVEN.keys() == set()


def called(call: ast.Call) -> ast.expr:
    """The function that is called, also where `partial` calls it later."""
    is_partial = isinstance(call.func, ast.Name) and call.func.id == "partial"
    return call.args[0] if is_partial and call.args else call.func


def functions_of(module: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """Functions and methods by the name they are called by, and whether their first argument is bound."""
    for node in module.body:
        if isinstance(node, Function):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Function):
                    yield (node.name if inner.name == "__init__" else inner.name), inner, True


def defaults_of(function: Function, bound: bool) -> Iterator[tuple[int | None, str]]:
    """(place, name) of each parameter that has a default; a keyword alone has no place."""
    given = function.args.args[bound:]
    first = len(given) - len(function.args.defaults)
    yield from ((place, one.arg) for place, one in enumerate(given) if place >= first)
    alone = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    yield from ((None, one.arg) for one, default in alone if default is not None)


def gives(call: ast.Call, place: int | None, name: str) -> bool:
    if any(keyword.arg in (None, name) for keyword in call.keywords):
        return True
    return any(isinstance(one, ast.Starred) for one in call.args) or (place is not None and len(call.args) > place)


def test_no_function_of_a_module_is_empty() -> None:
    """A tool that removes imports as unused can leave a function with its docstring alone."""
    empty = [
        f"{module} {node.name}"
        for module, tree in sources().items()
        for node in tree.body
        if isinstance(node, Function) and len(node.body) == 1 and ast.get_docstring(node) is not None
    ]
    assert {*empty} <= {f"{module} prepare" for module in BACKENDS.values()}  # backends that need no preparation
