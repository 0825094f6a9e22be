"""Comments and docstrings in plain English: words that make a reader translate stay rare.

The counts of a reading of this code beside nanochat, torchtune, TRL, tango and kedro, which have next to none of them.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

MOST = {  # per 1,000 words
    r"\b(?:said|says)\b": 0.3,
    r"\b(?:nobody|somebody|whoever|whatever)\b": 0.3,
    r"\bwhat (?:is|was)\b": 0.3,
    r"\b(?:is|are|was|were) no\b(?! longer)": 0.9,
    r"\bmend(?:s|ed|ing)?\b": 0.2,
}


def texts(file: Path) -> Iterator[str]:
    """Its comments and docstrings."""
    source = file.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = (node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    yield from (text for node in documented if (text := ast.get_docstring(node)))


@pytest.mark.parametrize("package", ["pipeline", "labeling"])
def test_comments_and_docstrings_are_in_plain_english(package: str) -> None:
    found = [text for file in sorted((ROOT / package).rglob("*.py")) for text in texts(file)]
    words = sum(len(re.findall(r"[A-Za-z']+", text)) for text in found)
    counts = Counter({rule: sum(len(re.findall(rule, text, re.I)) for text in found) for rule in MOST})
    assert {rule: 1000 * count / words for rule, count in counts.items() if 1000 * count / words > MOST[rule]} == {}
