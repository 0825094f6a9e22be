"""docs/ppo-rules.md and the tests and code that cite its rules agree."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.places import ROOT

ROW = re.compile(r"^\| (\d+) \| (.+) \| (.*) \| (.+) \|$", re.MULTILINE)
CITED = re.compile(r"\brules? (\d+(?:(?:, | and )\d+)*)", re.IGNORECASE)
CODE = ("pipeline", "labeling", "tests", "benchmarks")


@cache
def rules() -> dict[int, tuple[str, list[str]]]:
    """Number -> (what it says, the tests that it names)."""
    text = (ROOT / "docs" / "ppo-rules.md").read_text(encoding="utf-8")
    return {int(n): (rule, re.findall(r"`(test_\w+)`", tests)) for n, rule, _, tests in ROW.findall(text)}


def cited_in(text: str) -> set[int]:
    return {int(number) for cited in CITED.findall(text) for number in re.findall(r"\d+", cited)}


@cache
def sources() -> dict[Path, str]:
    files = [file for folder in CODE for file in (ROOT / folder).rglob("*.py") if file.parent != Path(__file__).parent]
    return {file: file.read_text(encoding="utf-8") for file in files}


@cache
def citations_of_tests() -> dict[str, set[int]]:
    """Test -> the rules that its name or its text cites; of every test that there is."""
    found: dict[str, set[int]] = defaultdict(set)
    for file, text in sources().items():
        if file.name.startswith("test_"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
                    found[node.name] |= cited_in("\n".join(lines).replace("_", " "))
    return found


def test_every_number_that_is_cited_is_a_rule() -> None:
    cited = {(file.relative_to(ROOT), n) for file, text in sources().items() for n in cited_in(text)}
    assert len({number for _, number in cited}) > 15  # else nothing was found
    assert [(str(file), n) for file, n in sorted(cited) if n not in rules()] == []


def test_rules_are_numbered_without_a_gap() -> None:
    assert list(rules()) == list(range(1, len(rules()) + 1))


@pytest.mark.parametrize("number", rules())
def test_every_test_of_a_rule_exists_and_cites_it(number: int) -> None:
    _, tests = rules()[number]
    assert tests
    assert [test for test in tests if number not in citations_of_tests().get(test, ())] == []


def test_every_test_that_cites_a_rule_is_named_by_it() -> None:
    left_out = [(test, n) for test, cited in citations_of_tests().items() for n in cited if test not in rules()[n][1]]
    assert left_out == []
