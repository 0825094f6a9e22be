"""Does a seed of PPO collapse? PPO repeated on one SFT policy and one reward model, with its early stops off and on.

    python benchmarks/ppo_seeds.py [--outputs FOLDER] [--project NAME] [--seeds 0,1,2] [--to FILE] [key=value …]

`ppo.seed` is PPO's own: all runs share what the project has made with `seed=` before PPO. The stops (`ppo.stop`) change
nothing until one of them ends a run. So each seed runs with its stops off, and the limits are then applied to its
history. The first seed, and each that a stop would end, runs with its stops on, too: up to that end both have to be
equal to the bit. A figure that is not finite ends a run in both cases. A run that is there is not made again.

Scores are those of the answers that a run draws at its end, not of held-out prompts. A run has collapsed if its true
score is below the SFT policy's, or its KL above three times the median of the runs.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frontier import run

from pipeline.config import compose
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.files import write_atomically
from pipeline.ppo.health import Health, HealthLimits
from pipeline.store.artifacts import Store

OFF = ("ppo.stop.kl=1e9", "ppo.stop.stopped=0", "ppo.stop.distinct=0")
WATCHED = ("kl", "stopped", "distinct")  # what the limits hold for
WINDOW = 10  # last rows of a run whose answers a figure is the mean of: nine iterations and the kept policy
FAR = 3  # times the median KL from which on a run has collapsed
Rows = Sequence[Mapping[str, Any]]


class Run(NamedTuple):
    """A run of PPO. The last of `rows` has the kept policy's answers, those before it are the history."""

    seed: int
    stops: str  # off, or on
    rows: Rows
    ended: int | None  # the iteration at which its stops end it, or would if they were on


def make(seed: int, stops: str, common: Sequence[str]) -> Run:
    """Make one run, unless it is there."""
    tag = f"seed-{seed}-{stops}"
    run([*common, f"ppo.seed={seed}", *(OFF if stops == "off" else ()), "stage=ppo", f"tag={tag}"])
    return read(seed, stops, f"ppo@{tag}", compose.load(list(common)))


def read(seed: int, stops: str, name: str, config: PipelineConfig) -> Run:
    """Return a run that was made. The limits are those of `config`, which has the stops on."""
    store = Store(Path(config.outputs), config.project)
    made = store.open(*store.resolve(name))
    rows = [*read_jsonl(made.file("history.jsonl")), made.metrics]
    stop = config.ppo.stop
    limits = HealthLimits(stop.kl, stop.stopped, stop.distinct, stop.patience)
    return Run(seed, stops, rows, len(rows) if made.metrics["ended_early"] else ended_by(limits, rows))


def ended_by(limits: HealthLimits, rows: Rows) -> int | None:
    """Return the iteration (from 1) at which these limits end a run of this history; None if they never do."""
    health = Health()
    for policy, row in enumerate(rows):
        health = health.after(policy, {name: row[name] for name in WATCHED}, limits)
        if health.fault:
            return policy + 1
    return None


def check_equal(off: Run, on: Run) -> None:
    """Stop the benchmark unless both runs are equal up to the end of the one with its stops on."""
    count = len(on.rows) - 1
    pairs = zip(off.rows[:count], on.rows[:count], strict=True)
    same = all(figures_of(one) == figures_of(other) for one, other in pairs)
    if not same or count != (off.ended - 1 if off.ended else len(off.rows) - 1):
        raise SystemExit(f"Seed {off.seed}: with its stops on the run differs before a stop ends it.")
    print(f"seed {off.seed}: {count} iterations with the stops on are those with the stops off, to the bit", flush=True)


def figures_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("seconds_")}


def mean_at_end(one: Run, figure: str) -> float:
    """Return a figure's mean over the answers of the last iterations."""
    return statistics.fmean(row[figure] for row in one.rows[-WINDOW:])


def table(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the lines of a Markdown table. A run's first answers are those of the SFT policy."""
    yield (
        "| seed | stops | true score | KL | highest KL | answer tokens | fewest complete | fewest distinct "
        "| ended by a stop | collapsed |"
    )
    yield "|---" * 10 + "|"
    least = statistics.fmean({one.seed: one.rows[0]["true_score"] for one in runs}.values())
    typical = statistics.median(mean_at_end(one, "kl") for one in runs if one.stops == "off")
    for one in runs:
        score, kl, length = (mean_at_end(one, figure) for figure in ("true_score", "kl", "length"))
        highest = max(row["kl"] for row in one.rows)
        complete, distinct = (min(row[figure] for row in one.rows) for figure in ("stopped", "distinct"))
        end = "never" if one.ended is None else f"at {one.ended}"
        collapsed = "yes" if score < least or kl > FAR * typical else "no"
        yield (
            f"| {one.seed} | {one.stops} | {score:.3f} | {kl:.2f} | {highest:.2f} | {length:.1f} | {complete:.0%} "
            f"| {distinct:.0%} | {end} | {collapsed} |"
        )
    yield f"\nThe SFT policy's answers have a true score of {least:.3f}; the median KL is {typical:.2f}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--project", default="playground")
    parser.add_argument("--seeds", default=",".join(map(str, range(10))), help="seeds of PPO, separated by commas")
    parser.add_argument("--to", type=Path, help="where the table is written, besides the terminal")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    common = [f"outputs={given.outputs}", f"project={given.project}", *given.overrides]
    runs: list[Run] = []
    for seed in map(int, given.seeds.split(",")):
        runs.append(off := make(seed, "off", common))
        if off.ended or len(runs) == 1:
            runs.append(on := make(seed, "on", common))
            check_equal(off, on)
        text = "\n".join(table(runs)) + "\n"
        if given.to:
            write_atomically(given.to, text)
    print(text)


if __name__ == "__main__":
    main()
