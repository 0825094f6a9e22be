"""Text in Markdown. Pure functions."""

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|&~])")


def markdown_text(text: str) -> str:
    """Text in one line without the meaning that Markdown and HTML give to some characters."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
