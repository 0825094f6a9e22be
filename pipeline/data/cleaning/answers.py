"""Detects answers without content and answers that repeat themselves."""

import re
import unicodedata
import zlib

_LETTER_OR_NUMBER = re.compile(r"[^\W_]")


def lacks_content(text: str) -> bool:
    """Whether the text has no letter, number or symbol (emoji, mathematics): at most punctuation.

    Backticks and other standalone accents count as punctuation.
    """
    if _LETTER_OR_NUMBER.search(text):
        return False
    categories = {unicodedata.category(character) for character in text}
    return all(category[0] in "PZC" or category == "Sk" for category in categories)


_WINDOW = 20  # characters per window
_MIN_LENGTH = 500
_MAX_TAIL = 20_000
# zlib compresses prose to 0.5 and text that is half a loop to 0.2–0.35. Counting windows takes ten times as long.
_COMPRESSIBLE = 0.4
_MIN_REPEATED_SHARE = 0.5


def repeats_itself(text: str) -> bool:
    """Whether more than half of a text of over 500 characters repeats its earlier part, in windows of 20.

    Typical shares: prose 0.02 to 0.1, code 0.2, a paragraph and 60 equal lines 0.65, a loop 0.99. Of a very long text
    only the end is examined, since loops occur there.
    """
    if len(text) <= _MIN_LENGTH:
        return False
    end = text[-_MAX_TAIL:]
    data = end.encode("utf-8", "replace")
    if len(zlib.compress(data, 1)) > _COMPRESSIBLE * len(data):
        return False
    return repeated_share(end) > _MIN_REPEATED_SHARE


def repeated_share(text: str) -> float:
    """The share of windows of 20 characters, one at each position, that occur earlier in the text."""
    windows = len(text) - _WINDOW + 1
    return 1 - len({text[start : start + _WINDOW] for start in range(windows)}) / windows if windows > 0 else 0.0
