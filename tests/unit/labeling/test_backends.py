"""Every backend of the table is what it claims to be, and a new one is a module and a line."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Backend
from labeling.backends import BACKENDS, BackendModule, backend_module
from labeling.in_memory import InMemory
from tests.labeling_backends import assert_kept
from tests.places import ROOT

WITHOUT_SERVER = ("simulated",)


def public(kind: type) -> dict[str, list[str]]:
    """Name -> its parameters; for a property none."""
    names = [name for name in vars(kind) if not name.startswith("_")]
    found = {name: inspect.getattr_static(kind, name) for name in names}
    return {name: [*inspect.signature(one).parameters] if callable(one) else [] for name, one in found.items()}


@pytest.mark.parametrize("kind", [ArgillaBackend, InMemory])
def test_a_backend_has_what_the_protocol_says(kind: type) -> None:
    wanted = public(Backend)
    assert wanted == {name: parameters for name, parameters in public(kind).items() if name in wanted}


@pytest.mark.parametrize("name", BACKENDS)
def test_each_module_opens_and_prepares(name: str) -> None:
    module = backend_module(name)
    for function, signature in public(BackendModule).items():
        assert list(inspect.signature(getattr(module, function)).parameters) == signature[1:]


def test_the_table_loads_no_client() -> None:
    code = "import sys, labeling.backends; print([name for name in ('argilla', 'httpx', 'ssl') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("name", WITHOUT_SERVER)
def test_a_backend_keeps_its_promises(name: str, tmp_path: Path) -> None:
    assert_kept(backend_module(name).open_backend, tmp_path)
