"""Fewer labels by asking about what the reward model is least sure of? Against random choice, at equal spend.

    python benchmarks/active.py [--outputs FOLDER] [--seeds 5] [--answers 4] [--budgets 30 60 120]

In the playground, a simulated annotator ranks the SFT policy's answers to some prompts, and a reward model learns from
the rankings so far. The first budget is spent at random. Up to each further one, `random` asks about random prompts,
and `active` about the most uncertain of four times as many, as `sample.choose=active` does, with the reward model of
the budget before. With two answers to each prompt instead of four, `active` also chooses them among the four drawn.

Accuracy is the share of pairs of answers to other prompts that the reward model orders as the true score does. At the
last budget a DPO policy is trained as well, and the true score of its answers to held-out prompts is given.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from arms import Playground, Sample, accuracy, as_task, scores_of, true_scores_of
from rich.console import Console
from rich.table import Table

from labeling.simulated import SimulatedAnnotator, annotate
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.prompts.uncertainty import most_uncertain
from pipeline.data.rows import Preference
from pipeline.modeling.rewards.scoring import RewardModel
from pipeline.stages.collect import quality
from pipeline.stages.sample import CANDIDATES

ANNOTATOR = SimulatedAnnotator("annotator", noise=0.1, tie_width=0.05)
HELD_OUT = 150  # prompts whose answers are never ranked
TEST_PROMPTS = 128
STRATEGIES = ("random", "active")


def with_answers(sample: Sample, places: Sequence[int]) -> Sample:
    """The sample with some of its answers."""
    return {**sample, "answers": [sample["answers"][place] for place in places]}


def chosen_at_random(samples: Sequence[Sample], count: int, answers: int, seed: int) -> list[Sample]:
    draw = random.Random(f"random {seed}")
    some = draw.sample(list(samples), count)
    return [with_answers(one, sorted(draw.sample(range(len(one["answers"])), answers))) for one in some]


def chosen_by(model: RewardModel, samples: Sequence[Sample], count: int, answers: int, seed: int) -> list[Sample]:
    """The most uncertain of `CANDIDATES` times as many samples, or of all there are."""
    candidates = random.Random(f"candidates {seed}").sample(list(samples), min(CANDIDATES * count, len(samples)))
    asked = most_uncertain(scores_of(model, candidates), count, answers)
    return [with_answers(candidates[one.prompt], one.answers) for one in asked]


def ranked(samples: Sequence[Sample], seed: int) -> list[Preference]:
    """The pairs from one ranking of each sample."""
    return preferences_from_rankings(annotate([as_task(one) for one in samples], [ANNOTATOR], 1, seed, quality)).rows


class Step(NamedTuple):
    """The samples that were asked about so far, their pairs, and the reward model that learned from these."""

    asked: list[Sample]
    rows: list[Preference]
    model: RewardModel
    accuracy: float


class Run:
    """One seed of the comparison: the first budget is spent once, for all strategies."""

    def __init__(self, world: Playground, budgets: Sequence[int], answers: int, seed: int) -> None:
        self.world, self.budgets, self.answers, self.seed = world, budgets, answers, seed
        self.held_out, self.asked_about = world.samples[:HELD_OUT], world.samples[HELD_OUT:]
        self.truth = true_scores_of(self.held_out)
        self.first = self.learned(chosen_at_random(self.asked_about, budgets[0], answers, seed))

    def learned(self, asked: list[Sample]) -> Step:
        rows = ranked(asked, self.seed)
        model = self.world.train_reward("reward", rows, self.seed)
        found = accuracy(scores_of(model, self.held_out), self.truth)
        print(f"seed {self.seed}: {len(asked)} rankings, {len(rows)} pairs, accuracy {found:.4f}", flush=True)
        return Step(asked, rows, model, found)

    def figures(self, strategy: str) -> list[float]:
        """The accuracy at each budget, the DPO policy's true score, and the pairs of the last budget."""
        steps = [self.first]
        for budget in self.budgets[1:]:
            last = steps[-1]
            taken, more = {sample["id"] for sample in last.asked}, budget - len(last.asked)
            left = [sample for sample in self.asked_about if sample["id"] not in taken]
            if strategy == "active":
                new = chosen_by(last.model, left, more, self.answers, self.seed)
            else:
                new = chosen_at_random(left, more, self.answers, self.seed + budget)
            steps.append(self.learned([*last.asked, *new]))
        rows = steps[-1].rows
        score = self.world.true_score(self.world.train_dpo("dpo", rows, self.seed), TEST_PROMPTS)
        print(f"seed {self.seed}: {strategy}, true score of DPO {score:.4f}", flush=True)
        return [*(step.accuracy for step in steps), score, float(len(rows))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--answers", type=int, choices=(2, 4), default=4)
    parser.add_argument("--budgets", type=int, nargs="+", default=[30, 60, 120])
    given = parser.parse_args()
    world = Playground(given.outputs)
    world.samples = [sample for sample in world.samples if len(sample["answers"]) == 4]
    found: dict[str, list[list[float]]] = {name: [] for name in STRATEGIES}
    for seed in range(given.seeds):
        run = Run(world, given.budgets, given.answers, seed)
        for name, curves in found.items():
            curves.append(run.figures(name))
    differences = [[a - r for r, a in zip(*both, strict=True)] for both in zip(*found.values(), strict=True)]
    title = f"Rankings of {given.answers} answers; mean of {given.seeds} seeds ± their standard deviation"
    table = Table("choice", *(f"{budget} rankings" for budget in given.budgets), "DPO", "pairs", title=title)
    for name, curves, sign in (*((*one, "") for one in found.items()), ("active − random", differences, "+")):
        *parts, pairs = [list(part) for part in zip(*curves, strict=True)]
        table.add_row(
            name, *(f"{mean(part):{sign}.3f} ± {stdev(part):.3f}" for part in parts), f"{mean(pairs):{sign},.0f}"
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
