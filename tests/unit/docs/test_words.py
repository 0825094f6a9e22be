"""Comments, docstrings and messages in plain English: words that make a reader translate stay rare.

The counts of a reading of this code beside nanochat, torchtune, TRL, tango and kedro, which have next to none of them.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

MOST = {  # per 1,000 words
    r"\b(?:said|says)\b": 0.3,
    r"\b(?:nobody|somebody|whoever|whatever)\b": 0.3,
    r"\bwhat (?:is|was)\b(?! this| there now)": 0.35,
    r"\b(?<!\bthere )(?:is|are|was|were) no\b(?! longer)": 0.9,
    r"\bmend(?:s|ed|ing)?\b": 0.2,
}


def remarks(file: Path) -> Iterator[str]:
    """Its comments and docstrings."""
    source = file.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = (node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    yield from (text for node in documented if (text := ast.get_docstring(node)))


def messages(file: Path) -> Iterator[str]:
    """Its strings of several words, parts of f-strings included; the playground's are its data."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree) if "playground" not in file.parts else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from [node.value] if node.value.count(" ") > 1 else []


@pytest.mark.parametrize("texts", [remarks, messages], ids=lambda texts: texts.__name__)
@pytest.mark.parametrize("package", ["pipeline", "labeling"])
def test_it_is_in_plain_english(package: str, texts: Callable[[Path], Iterator[str]]) -> None:
    found = [text for file in sorted((ROOT / package).rglob("*.py")) for text in texts(file)]
    words = sum(len(re.findall(r"[A-Za-z']+", text)) for text in found)
    counts = Counter({rule: sum(len(re.findall(rule, text, re.I)) for text in found) for rule in MOST})
    assert {rule: 1000 * count / words for rule, count in counts.items() if 1000 * count / words > MOST[rule]} == {}
