"""Compares each annotator's agreement with the others with the agreement of random answers.

Pure functions of rankings, from files or collected rounds: they need neither repeats nor gold, only several annotators
per task. Chance agreement depends on the share of ties: an annotator's answers are compared with random answers that
tie as often and prefer both sides equally.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from labeling.records import Ranking, compare
from labeling.votes import is_unnamed


class AgainstChance(NamedTuple):
    """One annotator's agreement with other annotators, over all pairs of responses that both ordered.

    `error` is the standard error of `agreement` - `chance`; prompts are the independent observations.
    """

    agreement: float
    chance: float
    error: float
    comparisons: int
    prompts: int


class _Pair(NamedTuple):
    """One annotator's answer to a pair of responses, and the count of each answer, this one included."""

    prompt: int
    answer: int  # 1 the first is better, 0 a tie, -1 the second is better
    given: Mapping[int, int]


def against_chance(rankings: Sequence[Ranking]) -> dict[str, AgainstChance]:
    """Annotator -> agreement, sorted by name; without unnamed votes and annotators who share no task with others."""
    pairs: dict[str, list[_Pair]] = defaultdict(list)
    for name, pair in _pairs(rankings):
        pairs[name].append(pair)
    return {name: _measured(own) for name, own in sorted(pairs.items())}


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
    gained: dict[int, float] = defaultdict(float)  # prompt -> agreements above chance
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
