"""A benchmark is a script: what it imports is found from its own folder, wherever it is started from."""

import ast
from pathlib import Path

import pytest

from tests.places import ROOT

BENCHMARKS = sorted(ROOT.glob("benchmarks/**/*.py"))


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda script: script.stem)
def test_a_benchmark_imports_no_package_that_is_not_installed(script: Path) -> None:
    assert imported(script) & {"benchmarks", "tests"} == set()


def imported(script: Path) -> set[str]:
    """The top-level names that a script imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names
