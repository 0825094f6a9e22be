"""The built-in guidelines, one Markdown file per question; `labeling.guidelines=FILE` replaces them."""

from pathlib import Path

from labeling.backend import Question


def shipped(question: Question) -> Path:
    return Path(__file__).parent / f"{question}.md"
