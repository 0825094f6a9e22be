"""A tokenizer's special tokens inside what people wrote: text that would be read as the end of a turn."""

import re
from collections.abc import Sequence
from functools import lru_cache


def neutralised(text: str, tokens: Sequence[str]) -> str:
    """The text with a space after the first character of each special token in it, so that it is one no more.

    No token is left, also none that a space itself has made, and text without tokens is returned as it is. Tokens of
    one character, and those that have whitespace among their first two, are not looked for: a space cannot break them.
    """
    pattern = _any_of(tuple(tokens))
    # Each round parts characters that stood side by side, and brings none together: there is a last round.
    while pattern is not None and pattern.search(text):
        text = pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


def has_token(text: str, tokens: Sequence[str]) -> bool:
    """Whether there is a special token in the text that `neutralised` would break."""
    pattern = _any_of(tuple(tokens))
    return pattern is not None and pattern.search(text) is not None


@lru_cache(maxsize=16)
def _any_of(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    breakable = {token for token in tokens if len(token) > 1 and not re.search(r"\s", token[:2])}
    return re.compile("|".join(map(re.escape, sorted(breakable, key=len, reverse=True)))) if breakable else None
