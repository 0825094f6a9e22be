"""Finds and breaks special tokens inside user text, which the model would read as the end of a turn."""

import re
from collections.abc import Sequence
from functools import lru_cache


def break_tokens(text: str, tokens: Sequence[str]) -> str:
    """The text with a space after the first character of each special token, so that it is no longer one.

    No token remains, not even one that an inserted space creates. Text without tokens is returned unchanged. Tokens of
    one character and tokens with whitespace among their first two characters are ignored: a space cannot break them.
    """
    pattern = _token_pattern(tuple(tokens))
    # Each round only separates adjacent characters, so the loop ends.
    while pattern is not None and pattern.search(text):
        text = pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


def has_token(text: str, tokens: Sequence[str]) -> bool:
    """Whether the text holds a special token that `break_tokens` would break."""
    pattern = _token_pattern(tuple(tokens))
    return pattern is not None and pattern.search(text) is not None


@lru_cache(maxsize=16)
def _token_pattern(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    breakable = {token for token in tokens if len(token) > 1 and not re.search(r"\s", token[:2])}
    return re.compile("|".join(map(re.escape, sorted(breakable, key=len, reverse=True)))) if breakable else None
