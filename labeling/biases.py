"""Measures whether annotators prefer the response shown first, or the longer one. Pure functions.

A share of 1/2 is no bias for position where slots are shuffled, as in this project's rounds. In a file, the order of
the responses may be another one than annotators saw. Longer answers can be better ones: compare an annotator's share
with the team's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from labeling.quality import Share, share_of
from labeling.records import Ranking, compare
from labeling.votes import is_unnamed

Sign = Callable[[Sequence[str], int, int], int]
"""(responses, a slot, a later slot) -> 1 if the bias is for the first slot, -1 for the second, 0 for neither."""


def prefers_first(rankings: Iterable[Ranking]) -> dict[str, Share]:
    """Annotator -> the share of ordered pairs of responses in which the one shown first is preferred."""
    return _preferred(rankings, lambda responses, first, second: 1)


def prefers_longer(rankings: Iterable[Ranking]) -> dict[str, Share]:
    """Annotator -> the share of ordered pairs of responses of unequal length in which the longer one is preferred."""

    def longer(responses: Sequence[str], first: int, second: int) -> int:
        one, other = len(responses[first]), len(responses[second])
        return (one > other) - (one < other)

    return _preferred(rankings, longer)


def _preferred(rankings: Iterable[Ranking], sign: Sign) -> dict[str, Share]:
    """Annotator -> how often the response that `sign` points at is preferred, without ties; sorted by name."""
    given: defaultdict[str, list[list[bool]]] = defaultdict(list)
    for ranking in rankings:
        responses = ranking["responses"]
        signs = [(sign(responses, *pair), pair) for pair in combinations(range(len(responses)), 2)]
        for row in ranking["rankings"]:
            votes = [one * compare(row["ranks"], *pair) for one, pair in signs]
            if not is_unnamed(row["annotator"]) and any(votes):
                given[row["annotator"]].append([vote > 0 for vote in votes if vote])
    return {name: share_of(tasks) for name, tasks in sorted(given.items())}
