"""New prompts similar to given ones: Self-Instruct (Wang et al. 2022, arXiv 2212.10560) for a chat model.

As in the paper, up to eight prompts are shown, six given and two generated ones, and prompts too similar to known ones
are dropped. Unlike the paper, a chat model gets an instruction instead of a list to continue, and similarity is the
share of common words instead of ROUGE-L.
"""

import random
import re
from collections.abc import Sequence

from pipeline.data.words import words_in

GIVEN_SHOWN = 6  # given prompts per request
MADE_UP_SHOWN = 2  # generated prompts per request
REQUESTED = 8  # new prompts per request
MAX_OVERLAP = 0.7  # Jaccard similarity of the words at or above which two prompts count as the same
MIN_WORDS, MAX_WORDS = 3, 150  # words

_NUMBERED = re.compile(r"^\s*\d+\s*[.):]\s*(.*\S)", re.MULTILINE)


class PromptPool:
    """Given and generated prompts: writes requests for more, and accepts new ones."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = list(given)
        self.made_up: list[str] = []
        self._known = [words for text in given if (words := frozenset(words_in(text)))]

    def request(self, draw: random.Random) -> str:
        """The instruction to the model."""
        made_up = draw.sample(self.made_up, min(MADE_UP_SHOWN, len(self.made_up)))
        shown = [*draw.sample(self.given, min(GIVEN_SHOWN, len(self.given))), *made_up]
        draw.shuffle(shown)
        examples = "\n".join(f"{number}. {_one_line(text)}" for number, text in enumerate(shown, start=1))
        return (
            "Here are requests that people have sent to an assistant:\n\n"
            f"{examples}\n\n"
            f"Write {REQUESTED} more that such people could send. Make them differ from these and from each other in "
            "topic and in wording, and complete, so that each can be answered by itself. Write them as a numbered "
            "list, one a line, and nothing else."
        )

    def add_if_new(self, text: str) -> bool:
        """Add a prompt if it is new and of a usable length; returns whether it was added."""
        all_words = words_in(text)
        words = frozenset(all_words)
        if not MIN_WORDS <= len(all_words) <= MAX_WORDS or any(_near(words, known) for known in self._known):
            return False
        self._known.append(words)
        self.made_up.append(text)
        return True


def prompts_in(text: str, whole: bool) -> list[str]:
    """The entries of a numbered list. If the text is not `whole`, the last entry is dropped: it may be cut off."""
    found = [match[1] for match in _NUMBERED.finditer(text)]
    return found if whole else found[:-1]


def _near(some: frozenset[str], others: frozenset[str]) -> bool:
    return len(some & others) >= MAX_OVERLAP * len(some | others)


def _one_line(text: str) -> str:
    return " ".join(text.split())
