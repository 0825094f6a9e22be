"""Who agrees with the others no more than chance: answers given blindly, by the slot, or with the scale turned round.

A pure function of rankings, for files as for collected rounds: it needs neither repeats nor gold, only people who
judged the same. What chance gives depends on how often someone ties: an annotator's answers are compared with answers
that tie as often and fall on either side alike.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from labeling.records import Ranking, compare
from labeling.votes import is_unnamed

ENOUGH = 20  # prompts that were also judged by others; of fewer, nothing is said of a person
ABOVE, BELOW = 1.96, 1.28  # standard errors with which agreement is shown to be above (97.5%) or below (90%) a value
NOTHING, LITTLE = 0.1, 0.5  # shares of what is usual


class AgainstChance(NamedTuple):
    """How often one annotator says the same as another one, over all pairs of responses that both ordered.

    `error` is the standard error of `agreement` - `chance`; prompts are the independent observations.
    """

    agreement: float
    chance: float
    error: float
    comparisons: int
    prompts: int

    @property
    def excess(self) -> float:
        return self.agreement - self.chance


class _Pair(NamedTuple):
    """One annotator's answer to a pair of responses, and how often each answer was given, this one included."""

    prompt: int
    answer: int  # 1 the first is better, 0 a tie, -1 the second is better
    given: Mapping[int, int]


def against_chance(rankings: Sequence[Ranking]) -> dict[str, AgainstChance]:
    """By annotator, sorted by name; without those who judged nothing that another one judged, and votes of nobody."""
    pairs: dict[str, list[_Pair]] = defaultdict(list)
    for name, pair in _pairs(rankings):
        pairs[name].append(pair)
    return {name: _measured(own) for name, own in sorted(pairs.items())}


def at_chance(known: Mapping[str, AgainstChance]) -> list[str]:
    """Those whose agreement with the others is not shown to be above chance, and is shown to be little beside what is
    usual here. Where fewer than half agree, and of two people, nobody stands out.
    """
    judged = {name: one for name, one in known.items() if one.prompts >= ENOUGH}
    agreeing = sum(one.excess > ABOVE * one.error for one in judged.values())
    if len(judged) < 3 or agreeing < len(judged) / 2:
        return []
    usual = median(one.excess for one in judged.values())
    return [
        name
        for name, one in judged.items()
        if one.excess - ABOVE * one.error <= NOTHING * usual and one.excess + BELOW * one.error < LITTLE * usual
    ]


def _pairs(rankings: Sequence[Ranking]) -> Iterator[tuple[str, _Pair]]:
    for number, ranking in enumerate(rankings):
        rows = ranking["rankings"]
        for first, second in combinations(range(len(ranking["responses"])) if len(rows) > 1 else (), 2):
            answers = [compare(row["ranks"], first, second) for row in rows]
            given = Counter(answers)
            for row, answer in zip(rows, answers, strict=True):
                if not is_unnamed(row["annotator"]):
                    yield row["annotator"], _Pair(number, answer, given)


def _measured(pairs: Sequence[_Pair]) -> AgainstChance:
    ties = sum(pair.answer == 0 for pair in pairs) / len(pairs)
    share = {0: ties, 1: (1 - ties) / 2, -1: (1 - ties) / 2}
    same = expected = 0.0
    gained: dict[int, float] = defaultdict(float)  # prompt -> agreements more than chance gives
    compared: Counter[int] = Counter()
    for pair in pairs:
        agreed = pair.given[pair.answer] - 1
        by_chance = sum(share[answer] * count for answer, count in pair.given.items()) - share[pair.answer]
        same, expected = same + agreed, expected + by_chance
        gained[pair.prompt] += agreed - by_chance
        compared[pair.prompt] += sum(pair.given.values()) - 1
    total = sum(compared.values())
    excess = (same - expected) / total
    spread = sum((gained[prompt] - excess * count) ** 2 for prompt, count in compared.items())
    error = math.sqrt(spread * len(compared) / max(len(compared) - 1, 1)) / total
    return AgainstChance(same / total, expected / total, error, total, len(compared))
