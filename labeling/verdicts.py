"""People's verdicts on the pairs of a blind A/B test. Pure functions."""

from collections.abc import Iterable
from typing import NamedTuple

from labeling.records import Ranking, SlotMap, compare
from labeling.sequential import Tally, tally


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
