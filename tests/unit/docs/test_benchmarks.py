"""A benchmark is a script that is found: its imports from anywhere, it and its results from `benchmarks/README.md`."""

import ast
import re
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.unit.docs.documents import links

README = ROOT / "benchmarks" / "README.md"
BENCHMARKS = sorted(ROOT.glob("benchmarks/**/*.py"))


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda script: script.stem)
def test_a_benchmark_imports_no_package_that_is_not_installed(script: Path) -> None:
    assert imported(script) & {"benchmarks", "tests"} == set()


def test_the_readme_names_every_script() -> None:
    named = set(re.findall(r"`(\w+\.py)`", README.read_text()))
    assert named == {script.name for script in README.parent.glob("*.py")}


def test_the_readme_links_to_every_result_and_all_its_links_exist() -> None:
    linked = {(README.parent / link).resolve() for link in links(README)}
    assert [path for path in linked if not path.exists()] == []
    assert set(README.parent.glob("**/results/*.md")) - linked == set()


def imported(script: Path) -> set[str]:
    """The top-level names that a script imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names
