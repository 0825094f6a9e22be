"""The pairs of a blind A/B test, from the answers of an evaluation. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from labeling.records import Sample, SampledAnswer, stable_random
from labeling.verdicts import Pair
from pipeline.store.hashing import content_hash

Row = Mapping[str, Any]


def choose_pairs(rows: Sequence[Row], policies: Sequence[str], count: int, seed: int) -> tuple[list[Pair], int]:
    """Return pairs of differing answers to up to `count` prompts for each two policies, and the number of equal ones.

    Prompts come in a random order that depends on the seed and their ids alone, so a larger `count` extends a smaller
    one. The later policy is the first of its pair: `ppo` against `dpo`. Answers with equal words are no question.
    """
    drawn = {row["id"]: row for row in sorted(rows, key=lambda row: stable_random(seed, "blind", row["id"]).random())}
    chosen: dict[str, list[Pair]] = {name: [] for name in drawn}
    equal = 0
    for second, first in combinations(policies, 2):
        differing = [name for name, row in drawn.items() if _words(row, first) != _words(row, second)]
        equal += len(drawn) - len(differing)
        for name in differing[:count]:
            task = content_hash([seed, name, *sorted((first, second))])
            chosen[name].append(Pair(task, name, first, second))
    return [pair for pairs in chosen.values() for pair in pairs], equal


def _words(row: Row, policy: str) -> list[str]:
    return str(row["answers"][policy]["text"]).split()


def samples_of(pairs: Iterable[Pair], rows: Sequence[Row]) -> Iterator[Sample]:
    """Yield each pair as a sample. Answers are in the order of their policies' names, whichever is the first."""
    found = {row["id"]: row for row in rows}
    for pair in pairs:
        row, names = found[pair.prompt], sorted((pair.first, pair.second))
        answers = [SampledAnswer(text=row["answers"][name]["text"], policy=name) for name in names]
        yield Sample(id=pair.task, prompt=row["prompt"], answers=answers)
