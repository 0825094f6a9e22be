"""docs/glossary.md: each term once, each with code that exists."""

import re
from functools import cache

import pytest

from tests.places import ROOT

ROW = re.compile(r"^\| (?P<term>[^|]+?) \| (?P<meaning>[^|]+?) \| (?P<code>[^|]*?) \|.*$", re.MULTILINE)
HEADINGS = {"term", "axis", "---"}


@cache
def entries() -> list[tuple[str, str]]:
    """(term, what it names in the code)."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return [(row["term"].strip("`"), row["code"]) for row in ROW.finditer(text) if row["term"] not in HEADINGS]


@cache
def identifiers() -> set[str]:
    """Every word of the code and the configuration."""
    files = [file for folder in ("pipeline", "labeling") for file in (ROOT / folder).rglob("*.py")]
    return {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}


def test_no_term_stands_twice() -> None:
    terms = [term.casefold() for term, _ in entries()]
    assert len(terms) > 60
    assert sorted(term for term in set(terms) if terms.count(term) > 1) == []


@pytest.mark.parametrize(("term", "code"), entries(), ids=[term for term, _ in entries()])
def test_every_term_names_code_that_exists(term: str, code: str) -> None:
    named = re.findall(r"`([^`]+)`", code)
    assert named
    for name in named:
        if "/" in name:
            assert (ROOT / name).exists(), name
        else:
            assert set(name.split(".")) <= identifiers(), name
