"""True score against KL for DPO, PPO, best of n and SFT on the chosen answers, in a world whose truth is known.

    python benchmarks/frontier.py [--outputs FOLDER] [--seeds 0,1,2] [--noise 0.25] [--to FILE] [key=value …]

The arms are made by commands that anybody would type (`experiment=frontier`), seed by seed from the same SFT policy and
the same rankings; one evaluation and one report.html of all arms stand at the end of each seed. A run that was stopped
goes on. `--noise` swaps the sides of that share of the training pairs (`preferences.noise`).
"""

import argparse
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import compose
from pipeline.evaluation.best_of import evaluated_names
from pipeline.files import write_atomically
from pipeline.playground.scorer import true_score
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

BETAS = (0.03, 0.1, 0.3, 1.0)
SCALE = 4  # the true score lies in [0, 1]; a reward model's has a spread of about 1


class Arm(NamedTuple):
    """A policy of the comparison: its stage, a tag, and the overrides that make it."""

    stage: str
    tag: str
    overrides: tuple[str, ...] = ()


ARMS = (
    *(Arm("dpo", f"beta-{beta}", (f"dpo.beta={beta}",)) for beta in BETAS),
    Arm("dpo", "sft-on-chosen", ("dpo.trainer.loss_type=sft",)),
    Arm("ppo", "learned"),
    Arm("ppo", "true", (f"ppo.rewards=[{{source: '{__file__}:true_reward', weight: {SCALE}}}]",)),
)


def true_reward(prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
    """The playground's true score of each answer, as a reward for PPO."""
    return [true_score(prompt[-1]["content"], text) for prompt, text in zip(prompts, answers, strict=True)]


def run(request: Sequence[str]) -> None:
    """Run one request as a command of its own; its output goes through."""
    print(f"python -m pipeline {shlex.join(request)}", flush=True)
    subprocess.run([sys.executable, "-m", "pipeline", *request], check=True)


def compare_arms(seed: int, common: Sequence[str]) -> Artifact:
    """Make all arms of one seed, their evaluation and its report; return the evaluation."""
    request = [*common, f"seed={seed}"]
    for arm in ARMS:
        run([*request, *arm.overrides, f"stage={arm.stage}", f"tag={arm.tag}-{seed}"])
    policies = ["sft", *(f"{arm.stage}@{arm.tag}-{seed}" for arm in ARMS)]
    evaluated = [*request, f"evaluate.policies=[{','.join(policies)}]"]
    run([*evaluated, "stage=compare"])
    config = compose.load(evaluated)
    store = Store(Path(config.outputs), config.project)
    return store.open(*store.resolve("evaluate"))


COLUMNS = {"kl": 2, "true_score": 3, "win_rate": 2, "length": 1}  # metric -> decimal places


def table(made: dict[int, Artifact]) -> Iterator[str]:
    """Yield the lines of a Markdown table: each policy's mean over seeds, and its range."""
    yield "| policy | KL to SFT | true score | win rate against SFT | answer tokens |"
    yield "|---|---|---|---|---|"
    configs = [evaluated.manifest["config"] for evaluated in made.values()]
    names = [evaluated_names(config["policies"], config["best_of"]) for config in configs]
    for same in zip(*names, strict=True):  # one policy, by seed
        cells = (
            across([e.metrics.get(f"{name}/{key}") for name, e in zip(same, made.values(), strict=True)], digits)
            for key, digits in COLUMNS.items()
        )
        label = same[0].rpartition("-")[0] if "@" in same[0] else same[0]
        yield f"| {label} | {' | '.join(cells)} |"


def across(values: Sequence[float | None], digits: int) -> str:
    """Return the mean of the seeds, with the range in brackets."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    spread = f" [{low:.{digits}f}, {high:.{digits}f}]" if high > low else ""
    return f"{statistics.fmean(known):.{digits}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the arms, separated by commas")
    parser.add_argument("--noise", type=float, default=0.0, help="share of training pairs with swapped sides")
    parser.add_argument("--to", type=Path, help="where the table is written, besides the terminal")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    common = ["experiment=frontier", f"outputs={given.outputs}", f"preferences.noise={given.noise}", *given.overrides]
    made: dict[int, Artifact] = {}
    for seed in map(int, given.seeds.split(",")):
        made[seed] = compare_arms(seed, common)
        text = "\n".join(table(made)) + "\n"
        if given.to:
            write_atomically(given.to, text)
    print(text)


if __name__ == "__main__":
    main()
