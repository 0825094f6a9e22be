"""The pairs of a blind A/B test, from the answers of an evaluation to people's verdicts. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from labeling.records import Ranking, Sample, SampledAnswer, SlotMap, compare, stable_random
from pipeline.evaluation.abtest import Tally, tally
from pipeline.store.hashing import content_hash

Row = Mapping[str, Any]


class Pair(NamedTuple):
    """Two policies' answers to one prompt. The first policy's wins are counted. `prompt` is the id of its row."""

    task: str
    prompt: str
    first: str
    second: str


class Verdict(NamedTuple):
    """What people said about a pair: 1 if the first policy's answer is better, 0 if it is worse, else 0.5."""

    pair: Pair
    outcome: float
    both_bad: bool
    votes: int


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


def verdicts(rankings: Iterable[Ranking], pairs: Iterable[Pair], slots: SlotMap) -> list[Verdict]:
    """Return the verdict on each ranked pair. More than half of the votes decide it, else it is a tie."""
    found = {pair.task: pair for pair in pairs}
    given = []
    for ranking in rankings:
        pair, votes = found[ranking["id"]], ranking["rankings"]
        policies = [slot["policy"] for slot in slots[pair.task]]
        first, second = policies.index(pair.first), policies.index(pair.second)
        better = [compare(vote["ranks"], first, second) for vote in votes]
        outcome = next((value for side, value in ((1, 1.0), (-1, 0.0)) if 2 * better.count(side) > len(votes)), 0.5)
        bad = 2 * sum(vote.get("both_bad", False) for vote in votes) > len(votes)
        given.append(Verdict(pair, outcome, bad, len(votes)))
    return given


def by_policies(given: Iterable[Verdict]) -> dict[tuple[str, str], list[Verdict]]:
    """Map (first, second) policy to the verdicts on their pairs."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in given:
        found.setdefault((verdict.pair.first, verdict.pair.second), []).append(verdict)
    return found


def tally_of(given: Iterable[Verdict]) -> Tally:
    return tally([verdict.outcome for verdict in given])


def left_slot_wins(rankings: Iterable[Ranking]) -> tuple[int, int]:
    """Return (votes for the left answer, votes for either): sides are shuffled, so half of them would be fair."""
    better = [compare(vote["ranks"], 0, 1) for ranking in rankings for vote in ranking["rankings"]]
    return better.count(1), better.count(1) + better.count(-1)
