"""How many opinions a record needs: few where annotators agree, more where they contradict each other. Pure functions.

Two annotators contradict each other on a pair of responses if each prefers another one. A record is settled once every
pair has more votes for one response than for the other, or none at all: then a majority exists. Ties are no votes.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

MOST = "most_submitted"  # in a dataset's metadata: the answers that a record gets at most, where annotators disagree

_LABELS = {"first": (1, 2), "second": (2, 1), "tie": (1, 1), "both_bad": (1, 1)}


def are_settled(opinions: Sequence[Sequence[float]]) -> bool:
    """Whether the ranks of several annotators (lower is better) leave no pair with as many votes on each side."""
    for first, second in combinations(range(len(opinions[0]) if opinions else 0), 2):
        better = sum(ranks[first] < ranks[second] for ranks in opinions)
        if better and better == sum(ranks[first] > ranks[second] for ranks in opinions):
            return False
    return True


def is_complete(submitted: Sequence[Mapping[str, Any] | None], least: int, most: int | None) -> bool:
    """Whether a record with these submitted values, as the page sends them, needs no further answer."""
    if most is None or not least <= len(submitted) < most:
        return len(submitted) >= least
    return are_settled([ranks for values in submitted if (ranks := ranks_in(values or {}))])


def ranks_in(values: Mapping[str, Any]) -> list[float]:
    """The ranks in an answer's values: of a ranking, a choice of two, or stars; empty for another question."""
    if "ranking" in values:
        given = {option["value"]: option["rank"] for option in values["ranking"]["value"]}
        return [given[letter] for letter in sorted(given)]
    if "pairwise" in values:
        return list(_LABELS[values["pairwise"]["value"]])
    stars = {name: values[name]["value"] for name in values if name.startswith("rating_")}
    return [-stars[name] for name in sorted(stars)]
