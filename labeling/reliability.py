"""Estimates how often each annotator is right, from pairs that several judge, without gold. Pure functions.

The model of Dawid and Skene (1979, Applied Statistics 28:20-28) with one parameter per annotator: each pair has one
better response, and an annotator names it with a probability of their own. EM alternates between the probability that
the first response is the better one and each annotator's share of right votes. Ties are left out: they tell nothing
about which response is better. Below 1/2, an annotator's vote counts for the other response.

Its limits: the pairs of one ranking count as independent, and annotators who err alike (one guideline read wrongly)
look right. If most annotators reverse the scale, the others look wrong.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labeling.records import Ranking
from labeling.votes import UNNAMED, is_unnamed

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

PRIOR_RIGHT, PRIOR_WRONG = 4.0, 2.0  # votes that each annotator's estimate starts with
STEPS, CONVERGED = 200, 1e-6  # most iterations of EM; largest change of a probability at its end


class Votes(NamedTuple):
    """Votes [votes] on pairs of responses, each by one annotator: 1 for the first response, -1 for the second, 0 a tie.

    `pairs` and `annotators` are places, from 0; `names` has the name of each annotator.
    """

    pairs: Ints
    annotators: Ints
    signs: Floats
    names: Sequence[str]

    def sums(self, values: Floats) -> Floats:
        """The sum of the values [votes] over the votes on each pair [pairs]."""
        return np.bincount(self.pairs, values).astype(np.float64)


def as_votes(rows: Iterable[tuple[int, str, int]]) -> Votes:
    """Rows of (pair, annotator, vote) as arrays. All unnamed annotators are one, since they cannot be told apart."""
    given = [(pair, UNNAMED if is_unnamed(name) else name, vote) for pair, name, vote in rows]
    names = sorted({name for _, name, _ in given})
    place = {name: number for number, name in enumerate(names)}
    return Votes(
        np.array([pair for pair, _, _ in given], dtype=np.intp),
        np.array([place[name] for _, name, _ in given], dtype=np.intp),
        np.array([vote for _, _, vote in given], dtype=np.float64),
        names,
    )


def votes_on_pairs(rankings: Sequence[Ranking]) -> tuple[Votes, Ints]:
    """(the votes on all pairs of different responses with votes, the place of each pair's ranking [pairs])."""
    rows: list[tuple[int, str, int]] = []
    owners: list[int] = []
    for number, ranking in enumerate(rankings):
        if not ranking["rankings"]:
            continue
        responses = ranking["responses"]
        for first, second in combinations(range(len(responses)), 2):
            if responses[first] != responses[second]:
                for row in ranking["rankings"]:
                    one, other = row["ranks"][first], row["ranks"][second]
                    rows.append((len(owners), row["annotator"], (one < other) - (one > other)))
                owners.append(number)
    return as_votes(rows), np.array(owners, dtype=np.intp)


def reliabilities(votes: Votes) -> Floats:
    """The probability that each annotator's vote names the better response [annotators]; by EM, ties left out.

    Annotators start equal, so the first step is the majority's. Without votes that others share, the estimate stays
    where it started, PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG).
    """
    strict = votes.signs != 0
    pairs, annotators, first = votes.pairs[strict], votes.annotators[strict], votes.signs[strict] > 0
    several = np.bincount(pairs)[pairs] > 1  # a single vote would only confirm itself
    pairs, annotators, first = pairs[several], annotators[several], first[several]
    given = np.bincount(annotators, minlength=len(votes.names))
    right = np.full(len(votes.names), PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))
    for _ in range(STEPS):
        weights = weights_of(right)[annotators]
        better = sigmoid(np.bincount(pairs, np.where(first, weights, -weights)).astype(np.float64))
        agreed = np.where(first, better[pairs], 1 - better[pairs])
        before, right = (
            right,
            (np.bincount(annotators, agreed, len(votes.names)) + PRIOR_RIGHT) / (given + PRIOR_RIGHT + PRIOR_WRONG),
        )
        if not len(right) or np.abs(right - before).max() < CONVERGED:
            break
    return right


def weights_of(right: Floats) -> Floats:
    """The weight of each annotator's vote: the logarithm of the odds that it is right; below 0 if mostly wrong."""
    weights: Floats = np.log(right / (1 - right))
    return weights


def sigmoid(log_odds: Floats) -> Floats:
    """Log-odds as probabilities."""
    probabilities: Floats = 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
    return probabilities


def log_odds_of(votes: Votes, right: Floats) -> Floats:
    """The log-odds that the first response of each pair is the better one [pairs]."""
    return votes.sums(weights_of(right)[votes.annotators] * votes.signs)
