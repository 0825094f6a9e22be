"""What an answer says: nothing at all, or the same over and over."""

import re
import unicodedata
import zlib

_LETTER_OR_NUMBER = re.compile(r"[^\W_]")


def says_nothing(text: str) -> bool:
    """Whether there is no letter, no number and no symbol (emoji, mathematics) in the text: only punctuation, if that.

    Backticks and other accents that stand alone are punctuation here.
    """
    if _LETTER_OR_NUMBER.search(text):
        return False
    categories = {unicodedata.category(character) for character in text}
    return all(category[0] in "PZC" or category == "Sk" for category in categories)


_PIECE = 20  # characters
_LONG_ENOUGH = 500
_LOOKED_AT = 20_000
_COMPRESSIBLE = (
    0.4  # zlib makes prose half as long, half a text and a loop 0.2 to 0.35; counting takes ten times as long
)
_REPEATED = 0.5


def repeats_itself(text: str) -> bool:
    """Whether more than half of a text of over 500 characters stands in it before, by pieces of 20 characters.

    Prose comes to 0.02 to 0.1, code to 0.2, a list of 60 equal lines after a paragraph to 0.65, a loop to 0.99. Of a
    very long text only the end is looked at: there it loops, if it does.
    """
    if len(text) <= _LONG_ENOUGH:
        return False
    end = text[-_LOOKED_AT:]
    data = end.encode("utf-8", "replace")
    if len(zlib.compress(data, 1)) > _COMPRESSIBLE * len(data):
        return False
    return repeated_share(end) > _REPEATED


def repeated_share(text: str) -> float:
    """The share of all pieces of 20 characters, one at each position, that stand in the text before."""
    pieces = len(text) - _PIECE + 1
    return 1 - len({text[start : start + _PIECE] for start in range(pieces)}) / pieces if pieces > 0 else 0.0
