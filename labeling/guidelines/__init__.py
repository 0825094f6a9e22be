"""The built-in guidelines, one Markdown file per question; `labeling.guidelines=FILE` replaces them."""

import hashlib
import json
from pathlib import Path

from labeling.backend import Question


def shipped(question: Question) -> Path:
    return Path(__file__).parent / f"{question}.md"


def version_of(guidelines: str) -> str:
    """The version of guidelines, as rankings name it: twelve digits of the hash of their text."""
    return hashlib.sha256(json.dumps(guidelines).encode()).hexdigest()[:12]
