"""Chooses the answers that people are asked about: those whose order a reward model is least sure of. Pure functions.

Uncertainty sampling (Lewis and Gale 1994, arXiv cmp-lg/9407020) on the pairs of a Bradley-Terry model. It does not tell
what the model could learn from what no one can decide: two answers of equal worth are uncertain, too. People's own
entropy (`pipeline.data.prompts.disagreement`) can be taken off.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Asked(NamedTuple):
    """A prompt and answers to it by their indexes, how uncertain their order is, and people's own entropy, in bits."""

    prompt: int
    answers: tuple[int, ...]
    uncertainty: float
    label_entropy: float = 0.0

    @property
    def information(self) -> float:
        """What an answer tells about the model; below 0 where people disagree more than the model is unsure."""
        return self.uncertainty - self.label_entropy


def order_entropy(scores: Sequence[float]) -> Floats:
    """The entropy in bits of which answer of each two is better [answers, answers], by scores in logits [answers].

    The first is better with the probability s(first - second), s being the logistic sigmoid. 1 is as open as a coin.
    """
    given = np.asarray(scores, dtype=np.float64)
    gaps = np.abs(given[:, None] - given[None, :])
    other = np.exp(-np.logaddexp(0, gaps))  # probability of the less likely order
    nats = np.logaddexp(0, -gaps) + other * gaps  # -log s(gap) + (1 - s(gap)) gap
    bits: Floats = nats / np.log(2)
    return bits


def most_uncertain_answers(scores: Sequence[float], count: int) -> tuple[tuple[int, ...], float]:
    """(the indexes of `count` answers, ascending, the mean entropy of their pairs): the set with the highest mean.

    All sets are compared, which are at most 252 for ten answers; of equal ones the first counts.
    """
    entropy = order_entropy(scores)

    def mean_entropy(answers: tuple[int, ...]) -> float:
        first, second = zip(*combinations(answers, 2), strict=True)
        return float(entropy[list(first), list(second)].mean())

    best = max(combinations(range(len(scores)), min(count, len(scores))), key=mean_entropy)
    return best, mean_entropy(best)


def most_informative(
    scores: Sequence[Sequence[float]], prompts: int, answers: int, label_entropies: Sequence[float] | None = None
) -> list[Asked]:
    """The prompts with the most information, the first one first, each with its most uncertain answers.

    `scores` are in logits [candidate prompts][at least two answers], `label_entropies` in bits [candidate prompts].
    Without these, all uncertainty counts as information. Of equal prompts the first counts.
    """
    entropies = [0.0] * len(scores) if label_entropies is None else label_entropies
    given = zip(scores, entropies, strict=True)
    asked = [Asked(i, *most_uncertain_answers(own, answers), entropy) for i, (own, entropy) in enumerate(given)]
    return sorted(asked, key=lambda one: -one.information)[:prompts]
