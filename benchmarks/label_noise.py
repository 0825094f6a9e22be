"""Does label noise in the losses help? Reward models and DPO policies of noisy labels, in the playground.

    python benchmarks/label_noise.py [--outputs FOLDER] [--seeds 3] [--prompts 100]

Three people of five rank the SFT policy's four answers to each prompt. They see the true score with noise, and in one
team two of five answer at random. The same pairs train a reward model and a DPO policy, with and without label noise.
Accuracy is the share of pairs of answers to other prompts that the reward model orders as the true score does.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from annotators import OVERLAP, team
from arms import Playground, Sample, accuracy, as_task, scores_of, true_scores_of
from rich.console import Console
from rich.table import Table

from labeling.simulated import SimulatedAnnotator, annotate
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.judgements.weighted import Pool
from pipeline.data.rows import Preference
from pipeline.stages.collect import quality

NOISE = 0.3  # of annotators, in true scores: about as unsure as people about two of these answers
HONEST, MIXED = team(5, noise=NOISE), team(3, 2, noise=NOISE)
CASES: tuple[tuple[str, list[SimulatedAnnotator], Pool], ...] = (
    ("5 honest", HONEST, "majority"),
    ("3 honest, 2 random", MIXED, "majority"),
    ("3 honest, 2 random", MIXED, "weighted"),
)
HELD_OUT = 150  # prompts whose answers nobody ranks
TEST_PROMPTS = 128
WITH_NOISE = ("reward.label_noise=true", "dpo.label_noise=true")


def pairs_of(
    samples: Sequence[Sample], annotators: Sequence[SimulatedAnnotator], pool: Pool, seed: int
) -> list[Preference]:
    """The pairs from rankings of these samples by `OVERLAP` annotators each."""
    asked = [as_task(sample) for sample in samples]
    return preferences_from_rankings(annotate(asked, annotators, OVERLAP, seed, quality), pool).rows


def right_share(rows: Sequence[Preference]) -> float:
    """The share of pairs in the order of the true score; equal scores count half."""
    scores = [[quality(row["prompt"], side[0]["content"]) for side in (row["chosen"], row["rejected"])] for row in rows]
    return mean(0.5 if one == other else float(one > other) for one, other in scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=100)
    given = parser.parse_args()
    world = Playground(given.outputs)
    held_out, pool_of_prompts = world.samples[:HELD_OUT], world.samples[HELD_OUT:]
    truth = true_scores_of(held_out)
    columns = ("team", "pool", "label noise", "pairs", "right pairs", "reward model's accuracy", "DPO's true score")
    table = Table(*columns, title=f"{given.prompts} prompts; mean of {given.seeds} seeds ± their standard deviation")
    for who, annotators, pool in CASES:
        labels = [
            pairs_of(random.Random(seed).sample(pool_of_prompts, given.prompts), annotators, pool, seed)
            for seed in range(given.seeds)
        ]
        about = f"{mean(map(len, labels)):.0f}", f"{mean(map(right_share, labels)):.3f}"
        found: dict[str, list[tuple[float, ...]]] = {"no": [], "yes": []}
        for with_noise, figures in found.items():
            for seed, rows in enumerate(labels):
                options = WITH_NOISE if with_noise == "yes" else ()
                reached = accuracy(scores_of(world.train_reward("reward", rows, seed, *options), held_out), truth)
                figures.append((reached, world.true_score(world.train_dpo("dpo", rows, seed, *options), TEST_PROMPTS)))
                print(who, pool, with_noise, seed, len(rows), *(f"{one:.4f}" for one in figures[-1]), flush=True)
        changes = [tuple(y - n for n, y in zip(*both, strict=True)) for both in zip(*found.values(), strict=True)]
        for name, values, sign in (*((*one, "") for one in found.items()), ("yes − no", changes, "+")):
            cells = [f"{mean(part):{sign}.3f} ± {stdev(part):.3f}" for part in zip(*values, strict=True)]
            table.add_row(who, pool, name, *about, *cells)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
