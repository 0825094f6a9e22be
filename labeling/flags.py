"""The words for true and false in a column of flags, in lower case."""

from typing import Final

TRUE_WORDS: Final = ("true", "yes", "y")
FALSE_WORDS: Final = ("false", "no", "n")

TRUE: Final = (*TRUE_WORDS, "1", "1.0")
FALSE: Final = (*FALSE_WORDS, "0", "0.0")
