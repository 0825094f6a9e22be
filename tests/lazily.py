"""Delays slow imports until a test first uses them, so that all tests are collected without torch."""

import builtins
import contextlib
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any


class Lazy:
    """Stands for a module, or for an object in one, and imports it at first use."""

    def __init__(self, module: str, name: str = "") -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        module = import_module(self._module)
        if not self._name:
            return module
        if not hasattr(module, self._name):
            return import_module(f"{self._module}.{self._name}")
        return getattr(module, self._name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_mock_name":  # pytest reads these from every object in a file
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._real()(*given, **named)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())


@contextlib.contextmanager
def lazily() -> Iterator[None]:
    """Delay the imports in this block until first use; for functions, classes and modules."""

    def later(module: str, _globals: object = None, _locals: object = None, names: tuple[str, ...] = (), _level=0):
        return SimpleNamespace(**{name: Lazy(module, name) for name in names}) if names else Lazy(module)

    real, builtins.__import__ = builtins.__import__, later
    try:
        yield
    finally:
        builtins.__import__ = real
