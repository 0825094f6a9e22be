"""Fewer labels by asking about what the reward model is least sure of? Against random choice, at equal spend.

    python benchmarks/active.py [--outputs FOLDER] [--seeds 5] [--answers 4] [--budgets 30 60 120] [--people 1]
                                [--contested] [--without-dpo]

In the playground, a simulated annotator ranks the SFT policy's answers to some prompts, and a reward model learns from
the rankings so far. The first budget is spent at random. Up to each further one, `random` asks about random prompts,
and `active` about the most uncertain of four times as many, as `sample.choose=active` does, with the reward model of
the budget before. With two answers to each prompt instead of four, `active` also chooses them among the four drawn.

Several people rank each prompt with `--people 2`, which spends two rankings on it. Then `avoid` is `active` with
`sample.disagreement=avoid`, which takes off the entropy that people are expected to have; `seek` adds it instead. With
`--contested`, people answer almost at random about every other trouble of the playground.

Accuracy is the share of pairs of answers to other prompts that the reward model orders as the true score does. At the
last budget a DPO policy is trained as well, and the true score of its answers to held-out prompts is given.
"""

import argparse
import random
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from arms import Playground, Sample, accuracy, as_task, scores_of, true_scores_of
from label_noise import right_share
from rich.console import Console
from rich.table import Table

from labeling.agreement import disagreement
from labeling.records import Ranking
from labeling.simulated import SimulatedAnnotator, annotate
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.prompts.disagreement import Floats, Judged, expected_disagreement, label_entropy
from pipeline.data.prompts.uncertainty import most_informative
from pipeline.data.rows import Message, Preference, as_messages
from pipeline.modeling.rewards.scoring import RewardModel
from pipeline.playground.world import TROUBLES
from pipeline.stages.collect import quality
from pipeline.stages.sample import CANDIDATES

NOISE, CONTESTED_NOISE, TIE_WIDTH = 0.1, 1.0, 0.05  # in true scores, which are from 0 to 1
HELD_OUT = 150  # prompts whose answers are never ranked
TEST_PROMPTS = 128
LESS_ENTROPY = {"active": 0.0, "avoid": 1.0, "seek": -1.0}  # the share of people's entropy that is taken off


def with_answers(sample: Sample, places: Sequence[int]) -> Sample:
    """The sample with some of its answers."""
    return {**sample, "answers": [sample["answers"][place] for place in places]}


def chosen_at_random(samples: Sequence[Sample], count: int, answers: int, seed: int) -> list[Sample]:
    draw = random.Random(f"random {seed}")
    some = draw.sample(list(samples), count)
    return [with_answers(one, sorted(draw.sample(range(len(one["answers"])), answers))) for one in some]


class People:
    """Simulated annotators who all rank each sample, some of them with large errors about contested prompts."""

    def __init__(self, count: int, contested: bool) -> None:
        self.count, self.contested = count, contested

    def rankings(self, samples: Sequence[Sample], seed: int) -> list[Ranking]:
        return [ranking for sample in samples for ranking in self._ranked(sample, seed)]

    def _ranked(self, sample: Sample, seed: int) -> list[Ranking]:
        noise = CONTESTED_NOISE if self.contested and is_contested(sample) else NOISE
        annotators = [SimulatedAnnotator(f"annotator{one}", noise, TIE_WIDTH) for one in range(self.count)]
        return annotate([as_task(sample)], annotators, self.count, seed, quality)


def is_contested(sample: Sample) -> bool:
    """Whether the prompt is about a trouble of the contested half."""
    text = sample["prompt"][-1]["content"]
    return any(trouble in text for trouble in TROUBLES[::2])


class Step(NamedTuple):
    """The samples that were asked about so far, their rankings and pairs, and the reward model of these."""

    asked: list[Sample]
    rankings: list[Ranking]
    rows: list[Preference]
    model: RewardModel
    accuracy: float


class Run:
    """One seed of the comparison: the first budget is spent once, for all strategies."""

    def __init__(self, world: Playground, people: People, budgets: Sequence[int], answers: int, seed: int) -> None:
        self.world, self.people, self.answers, self.seed = world, people, answers, seed
        self.budgets = [budget // people.count for budget in budgets]  # in prompts
        self.held_out, self.asked_about = world.samples[:HELD_OUT], world.samples[HELD_OUT:]
        self.truth = true_scores_of(self.held_out)
        self.first = self.learned(chosen_at_random(self.asked_about, self.budgets[0], answers, seed))

    def learned(self, asked: list[Sample]) -> Step:
        rankings = self.people.rankings(asked, self.seed)
        rows = preferences_from_rankings(rankings).rows
        model = self.world.train_reward("reward", rows, self.seed)
        found = accuracy(scores_of(model, self.held_out), self.truth)
        print(f"seed {self.seed}: {len(asked)} prompts, {len(rows)} pairs, accuracy {found:.4f}", flush=True)
        return Step(asked, rankings, rows, model, found)

    def chosen(self, strategy: str, last: Step, samples: Sequence[Sample], count: int) -> list[Sample]:
        """The most informative of `CANDIDATES` times as many samples, or of all there are."""
        draw = random.Random(f"candidates {self.seed}")
        candidates = draw.sample(list(samples), min(CANDIDATES * count, len(samples)))
        judged = [
            Judged(as_messages(ranking["prompt"]), one.share)
            for ranking in last.rankings
            if (one := disagreement(ranking)).comparisons
        ]
        less = LESS_ENTROPY[strategy] * self.entropies([one["prompt"] for one in candidates], judged)
        asked = most_informative(scores_of(last.model, candidates), count, self.answers, less.tolist())
        return [with_answers(candidates[one.prompt], one.answers) for one in asked]

    def entropies(self, prompts: Sequence[list[Message]], judged: Sequence[Judged]) -> Floats:
        """The entropy that people are expected to have [prompts]; 0 if no two judged the same prompt."""
        if not judged:
            return np.zeros(len(prompts))
        return label_entropy(expected_disagreement(prompts, judged, self.seed))

    def figures(self, strategy: str, with_dpo: bool) -> list[float]:
        """The accuracy at each budget, the DPO policy's true score, and figures of the last budget.

        These are the number of pairs, the share in the true order, and the share of contested prompts.
        """
        steps = [self.first]
        for budget in self.budgets[1:]:
            last = steps[-1]
            taken, more = {sample["id"] for sample in last.asked}, budget - len(last.asked)
            left = [sample for sample in self.asked_about if sample["id"] not in taken]
            if strategy == "random":
                new = chosen_at_random(left, more, self.answers, self.seed + budget)
            else:
                new = self.chosen(strategy, last, left, more)
            steps.append(self.learned([*last.asked, *new]))
        rows, score = steps[-1].rows, float("nan")
        if with_dpo:
            score = self.world.true_score(self.world.train_dpo("dpo", rows, self.seed), TEST_PROMPTS)
        contested = mean(map(is_contested, steps[-1].asked))
        print(f"seed {self.seed}: {strategy}, true score of DPO {score:.4f}, {contested:.2f} contested", flush=True)
        return [*(step.accuracy for step in steps), score, right_share(rows), contested, float(len(rows))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--answers", type=int, choices=(2, 4), default=4)
    parser.add_argument("--budgets", type=int, nargs="+", default=[30, 60, 120])
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--contested", action="store_true")
    parser.add_argument("--without-dpo", action="store_true")
    given = parser.parse_args()
    world = Playground(given.outputs)
    world.samples = [sample for sample in world.samples if len(sample["answers"]) == 4]
    strategies = ["random", *(LESS_ENTROPY if given.people > 1 else ["active"])]
    found: dict[str, list[list[float]]] = {name: [] for name in strategies}
    for seed in range(given.seeds):
        run = Run(world, People(given.people, given.contested), given.budgets, given.answers, seed)
        for name, curves in found.items():
            curves.append(run.figures(name, not given.without_dpo))
    title = f"Rankings of {given.answers} answers; mean of {given.seeds} seeds ± their standard deviation"
    columns = (*(() if given.without_dpo else ("DPO",)), "right pairs", "contested", "pairs")
    table = Table("choice", *(f"{budget} rankings" for budget in given.budgets), *columns, title=title)
    for name, curves in found.items():
        differences = [
            [a - r for r, a in zip(*both, strict=True)] for both in zip(found["random"], curves, strict=True)
        ]
        _add_row(table, name, curves, "")
        if name != "random":
            _add_row(table, f"{name} − random", differences, "+")
    Console(width=150).print(table)


def _add_row(table: Table, name: str, figures: Sequence[Sequence[float]], sign: str) -> None:
    *parts, pairs = [list(part) for part in zip(*figures, strict=True)]
    cells = [f"{mean(part):{sign}.3f} ± {stdev(part):.3f}" for part in parts if not isnan(part[0])]
    table.add_row(name, *cells, f"{mean(pairs):{sign},.0f}")


if __name__ == "__main__":
    main()
