"""What the documents hold: lines of code blocks, spans of code in the text, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.places import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)  # in a list, too
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#]+)\)")
SHOWN_COMMAND = re.compile(r"python -m (?:pipeline|labeling)\b(?: \S+)*")  # in a program's output, to two spaces


@dataclass(frozen=True)
class Block:
    """A code block, and where it begins."""

    document: Path
    line: int
    language: str
    body: str


@dataclass(frozen=True)
class Line:
    """A command, and where it stands."""

    document: Path
    number: int
    text: str

    @property
    def words(self) -> list[str]:
        """As a shell reads it: without quotes and comments."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.document.name}:{self.number}: {self.text}"


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found["language"], dedent(found["body"]))
        for found in FENCE.finditer(text)
    ]


def command_lines(document: Path) -> Iterator[Line]:
    """Every line of every `bash` block, and every command of ours that a `text` block shows."""
    for block in blocks(document):
        if block.language == "bash":
            joined = re.sub(r"\\\n\s*", " ", block.body)
            yield from (Line(document, block.line, text) for text in joined.splitlines() if text.strip())
        elif block.language == "text":
            yield from (Line(document, block.line, text) for text in SHOWN_COMMAND.findall(block.body))


def spans(document: Path) -> Iterator[str]:
    """What stands between backticks, outside code blocks; those broken over two lines as one line."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    yield from (" ".join(found.split()) for found in SPAN.findall(text))


def links(document: Path) -> Iterator[str]:
    yield from LINK.findall(document.read_text(encoding="utf-8"))
