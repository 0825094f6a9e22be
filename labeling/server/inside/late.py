"""Delays slow imports of Argilla until they are used, which is rarely: they take a third of a server's start.

`datasets`, with pandas, is for the Hugging Face Hub; the other two are clients of search engines that we do not use.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

LATE = ("datasets", "elasticsearch8", "opensearchpy")


class Name:
    """Stands for a name of a module, which is imported when the name is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        if isinstance(sys.modules.get(self._module), Late):
            del sys.modules[self._module]
        module = import_module(self._module)
        return getattr(module, self._name) if hasattr(module, self._name) else import_module(str(self))

    def __str__(self) -> str:
        return f"{self._module}.{self._name}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # typing asks each annotation for some
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._real()(*given, **named)


class Late(ModuleType):
    """Stands for a module while others import names from it."""

    def __getattr__(self, name: str) -> Name:
        if name.startswith("__"):
            raise AttributeError(name)
        return Name(self.__name__, name)


@contextmanager
def imports() -> Iterator[None]:
    """Modules that are imported in this block get stand-ins for the names of slow modules."""
    there = {name: Late(name) for name in LATE if name not in sys.modules}
    for name, module in there.items():
        module.__spec__ = find_spec(name)
    sys.modules.update(there)
    try:
        yield
    finally:
        for name, module in there.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
