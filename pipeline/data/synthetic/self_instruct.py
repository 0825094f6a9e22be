"""New prompts in the manner of given ones: Self-Instruct (Wang et al. 2022, arXiv 2212.10560), for a chat model.

As there, eight prompts are shown, six given ones and up to two made up before, and what is too near to one that is
there already is left out. Otherwise than there, a chat model is asked in words instead of being made to go on with a
list, and nearness is the share of words that two prompts have in common instead of ROUGE-L.
"""

import random
import re
from collections.abc import Sequence

from pipeline.data.words import words_in

GIVEN = 6  # prompts shown
MADE_UP = 2  # of those made up before, in addition
WANTED = 8  # asked for at once
NEAR = 0.7  # share of the words of two prompts that both have, from which on they are one
SHORTEST, LONGEST = 3, 150  # words

_NUMBERED = re.compile(r"^\s*\d+\s*[.):]\s*(.*\S)", re.MULTILINE)


class Inventing:
    """The prompts that are there by now; knows what to ask for, and takes what is new."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = list(given)
        self.made_up: list[str] = []
        self._known = [words for text in given if (words := frozenset(words_in(text)))]

    def request(self, draw: random.Random) -> str:
        """What a model is asked."""
        made_up = draw.sample(self.made_up, min(MADE_UP, len(self.made_up)))
        shown = [*draw.sample(self.given, min(GIVEN, len(self.given))), *made_up]
        draw.shuffle(shown)
        examples = "\n".join(f"{number}. {_one_line(text)}" for number, text in enumerate(shown, start=1))
        return (
            "Here are requests that people have sent to an assistant:\n\n"
            f"{examples}\n\n"
            f"Write {WANTED} more that such people could send. Make them differ from these and from each other in "
            "topic and in wording, and complete, so that each can be answered by itself. Write them as a numbered "
            "list, one a line, and nothing else."
        )

    def take(self, text: str) -> bool:
        """Whether a prompt is new and of a usable length; it is then there, too."""
        all_words = words_in(text)
        words = frozenset(all_words)
        if not SHORTEST <= len(all_words) <= LONGEST or any(_near(words, known) for known in self._known):
            return False
        self._known.append(words)
        self.made_up.append(text)
        return True


def prompts_in(text: str, whole: bool) -> list[str]:
    """The entries of a numbered list. Where it is not `whole`, the last one is left out: it may be cut off."""
    found = [match[1] for match in _NUMBERED.finditer(text)]
    return found if whole else found[:-1]


def _near(some: frozenset[str], others: frozenset[str]) -> bool:
    return len(some & others) >= NEAR * len(some | others)


def _one_line(text: str) -> str:
    return " ".join(text.split())
