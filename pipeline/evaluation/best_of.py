"""Best of n: of n answers of the baseline to a prompt, the one with the highest reward (arXiv 2009.01325, 2112.09332).

It trains nothing and pays at every answer, so it is what a trained arm has to beat. Pure functions.
"""

import math
from collections.abc import Sequence


def name_of(count: int) -> str:
    """Return the name of this policy among the evaluated ones, such as `best_of_16`."""
    return f"best_of_{count}"


def evaluated_names(policies: Sequence[str], counts: Sequence[int] | None) -> list[str]:
    """Return the names of all evaluated policies: `evaluate.policies`, then those of `evaluate.best_of`."""
    return [*policies, *map(name_of, counts or ())]


def kl_bound(count: int) -> float:
    """Return log n - (n - 1)/n, in nats per answer: at most so far is the best of n answers from the policy below it.

    Reached when no two answers are equal (arXiv 2401.01879, theorem 3.1). It cannot be estimated from answers, as the
    best of n has no probability that a model could give.
    """
    return math.log(count) - (count - 1) / count


def best_places(scores: Sequence[float], count: int, of: int) -> list[int]:
    """Return the place of the best of each prompt's first `count` answers; of equal ones, the first.

    `scores` [prompts x of] has `of` answers of each prompt side by side.
    """
    starts = range(0, len(scores), of)
    return [max(range(start, start + count), key=lambda place: (scores[place], -place)) for start in starts]
