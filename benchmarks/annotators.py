"""Whom to trust, in simulation: who is named, how often someone is named without a reason, and weighted votes.

    python benchmarks/annotators.py [--seeds 10] [--honest-teams 200]

Responses differ in quality by a standard normal variable. Annotators perceive it with noise: 0.5 is easy (people rarely
agree so well), 1 is about what people reach on summaries (`labeling.simulated`).
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import mean
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from labeling.records import Message, Ranking, Task, stable_random
from labeling.reliability import Votes, reliabilities
from labeling.simulated import SimulatedAnnotator, annotate
from labeling.suspects import standings, suspects
from pipeline.data.judgements.choosing import PollKey
from pipeline.data.judgements.polls import Poll, add_votes
from pipeline.data.judgements.pooling import Preferences, preferences_from_rankings
from pipeline.data.judgements.weighted import outcomes_by_votes

TIE_WIDTH = 0.1
OVERLAP = 3


def quality(prompt: list[Message], response: str) -> float:
    """The true quality of a response: a standard normal variable."""
    return stable_random("quality", prompt[0]["content"], response).gauss(0, 1)


def team(honest: int, random: int = 0, inverse: int = 0, noise: float = 0.5) -> list[SimulatedAnnotator]:
    """Annotators named by what they do: `honest0`, `random0`, `inverse0`, …"""
    kinds = (("honest", honest, 1.0), ("random", random, 0.0), ("inverse", inverse, -1.0))
    return [
        SimulatedAnnotator(f"{kind}{number}", noise, TIE_WIDTH, sense=sense)
        for kind, count, sense in kinds
        for number in range(count)
    ]


def ranked(
    annotators: Sequence[SimulatedAnnotator], tasks: int, responses: int, seed: int, overlap: int = OVERLAP
) -> list[Ranking]:
    """Rankings of made-up tasks by `overlap` annotators each."""
    asked = [
        Task(
            id=f"{number}",
            prompt=[Message(role="user", content=f"{seed} {number}")],
            responses=[f"response {slot}" for slot in range(responses)],
        )
        for number in range(tasks)
    ]
    return annotate(asked, annotators, overlap, seed, quality)


def named(annotators: Sequence[SimulatedAnnotator], tasks: int, responses: int, seed: int) -> dict[str, str]:
    """Annotator -> the reason to name them."""
    found = suspects(standings(ranked(annotators, tasks, responses, seed)), {})
    return {one.name: one.reason for one in found}


def by_votes(rankings: Sequence[Ranking]) -> Preferences:
    """What Dawid and Skene's model of single pairs makes of rankings (`preferences.pool=weighted` has it for pairs)."""
    polls: dict[PollKey, Poll] = {}
    for ranking in rankings:
        add_votes(ranking, polls, {})
    rows = [one.row for one in outcomes_by_votes(list(polls.values())) if one.row]
    return Preferences(rows, {"ties": len(polls) - len(rows)})


POOLS: dict[str, Callable[[Sequence[Ranking]], Preferences]] = {
    "majority": preferences_from_rankings,
    "weighted": partial(preferences_from_rankings, pool="weighted"),
    "weighted by single pairs": by_votes,
}


class Right(NamedTuple):
    """How pooled pairs compare with the true quality."""

    rows: float  # share of the pairs that are in the right order
    kept: float  # share of all comparisons that became a pair
    all: float  # share of all comparisons in the right order, ties half
    expected: float  # share that is right by the rows' label noise


def right(rankings: Sequence[Ranking], pool: str) -> Right:
    found = POOLS[pool](rankings)
    won = [
        quality(row["prompt"], row["chosen"][0]["content"]) > quality(row["prompt"], row["rejected"][0]["content"])
        for row in found.rows
    ]
    total = len(won) + found.counts["ties"]
    noise = [row["label_noise"] for row in found.rows]
    return Right(mean(won), len(won) / total, (sum(won) + found.counts["ties"] / 2) / total, 1 - mean(noise))


def _naming(seeds: int, honest_teams: int) -> Table:
    table = Table("team", "noise", "tasks", "responses", "as it should be", "others named", title="Who is named")
    both = {"random0": "chance", "inverse0": "inverse"}
    for noise, tasks, responses in ((0.5, 100, 4), (0.5, 300, 2), (1.0, 300, 4), (1.0, 800, 2)):
        found = [named(team(3, 1, 1, noise), tasks, responses, seed) for seed in range(seeds)]
        exact = sum(one == both for one in found)
        others = sum(bool(one.keys() - both.keys()) for one in found)
        cells = f"{exact} of {seeds}", f"{others} of {seeds}"
        table.add_row("3 honest, 1 random, 1 inverse", f"{noise}", f"{tasks}", f"{responses}", *cells)
    for noise, tasks, responses in ((0.5, 150, 4), (1.0, 150, 4), (1.0, 300, 2)):
        alarms = sum(bool(named(team(20, noise=noise), tasks, responses, seed)) for seed in range(honest_teams))
        cells = f"{honest_teams - alarms} of {honest_teams}", f"{alarms} of {honest_teams}"
        table.add_row("20 honest", f"{noise}", f"{tasks}", f"{responses}", *cells)
    return table


def _weighing(seeds: int) -> Table:
    columns = (
        "team",
        "overlap",
        "pool",
        "right pairs",
        "least",
        "pairs kept",
        "all right, ties half",
        "expected right",
    )
    table = Table(*columns, title=f"Pairs of 300 tasks with 4 responses, mean of {seeds} seeds")
    for who, people, overlap in _teams():
        given = [ranked(people, 300, 4, seed, overlap) for seed in range(seeds)]
        for pool in POOLS:
            found = [right(rankings, pool) for rankings in given]
            means = [f"{mean(one[part] for one in found):.3f}" for part in range(4)]
            table.add_row(who, f"{overlap}", pool, means[0], f"{min(one.rows for one in found):.3f}", *means[1:])
    return table


def _teams() -> Iterator[tuple[str, list[SimulatedAnnotator], int]]:
    """(who is in a team of five, the team, the overlap)."""
    for noise in (0.3, 0.5, 0.7):
        yield f"2 random, noise {noise}", team(3, 2, noise=noise), OVERLAP
        yield f"1 random, 1 inverse, noise {noise}", team(3, 1, 1, noise=noise), OVERLAP
        yield f"all honest, noise {noise}", team(5, noise=noise), OVERLAP
    unequal = (0.2, 0.5, 0.8, 1.2, 2.5)
    yield "noise 0.2 to 2.5", [SimulatedAnnotator(f"noise {one}", one, TIE_WIDTH) for one in unequal], OVERLAP
    yield "2 random, noise 0.5", team(3, 2), 2
    yield "all honest, noise 0.5", team(5), 2


def seconds_of_em(votes: int = 100_000, annotators: int = 20) -> float:
    """CPU seconds for the reliabilities of random votes, three on each pair; one annotator in four is at chance."""
    draw = np.random.default_rng(0)
    people = np.argsort(draw.random((votes // 3, annotators)), axis=1)[:, :3].ravel()
    able = np.where(np.arange(annotators) % 4, 0.8, 0.5)
    signs = np.where(draw.random(len(people)) < able[people], 1.0, -1.0)
    given = Votes(np.repeat(np.arange(votes // 3), 3), people, signs, [f"{number:02}" for number in range(annotators)])
    began = time.process_time()
    reliabilities(given)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--honest-teams", type=int, default=200)
    options = parser.parse_args()
    console = Console(width=120)
    console.print(_naming(options.seeds, options.honest_teams))
    console.print(_weighing(options.seeds))
    console.print(f"Reliabilities from 100,000 votes: {seconds_of_em():.2f} s of CPU")


if __name__ == "__main__":
    main()
