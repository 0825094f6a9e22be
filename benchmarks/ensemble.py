"""PPO's and best of n's true score with one reward model and with an ensemble of them, where labels are wrong.

    python benchmarks/ensemble.py [--outputs FOLDER] [--seeds 0,1,2] [--noise 0.25] [--ways single,worst]
        [key=value …]

A quarter of the training pairs have swapped sides. Members differ by their seed; a single model is the member with the
seed of its run, so members and single models are the same artifacts. Best of n chooses among the same answers of the
SFT policy to held-out prompts, by each single model and by the ensemble. A run that was stopped goes on.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from frontier import across, run

from pipeline.config import compose
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import read_jsonl
from pipeline.modeling.answering import Answer, Answerer
from pipeline.modeling.rewards.scoring import RewardModel
from pipeline.playground.scorer import true_score
from pipeline.ppo.sources import combination
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

MEMBERS = (0, 1, 2)
COMBINED = ("mean", "worst", "cautious")
WINDOW = 10  # iterations whose answers a score is the mean of
PROMPTS, BEST_OF = 128, (1, 4, 16)


class Made(NamedTuple):
    """The figures of one run of PPO."""

    end: float  # true score of the last iterations' answers
    best: float  # of the best ten iterations in a row
    reward: float
    kl: float


def member(seed: int) -> str:
    return f"member-{seed}"


def store_of(common: Sequence[str]) -> Store:
    config = compose.load([*common])
    return Store(Path(config.outputs), config.project)


def learned(name: str, seed: int, common: Sequence[str]) -> Made:
    """Run PPO with a single model, or with the ensemble and one way to combine its scores."""
    members = [member(seed)] if name == "single" else [member(one) for one in MEMBERS]
    rewards = ",".join(f"{{source: reward@{one}}}" for one in members)
    combined = [] if name == "single" else [f"ppo.combine={name}"]
    run([*common, f"seed={seed}", f"ppo.rewards=[{rewards}]", *combined, "stage=ppo", f"tag={name}-{seed}"])
    store = store_of(common)
    rows = read_jsonl(store.open(*store.resolve(f"ppo@{name}-{seed}")).file("history.jsonl"))
    scores = [row["true_score"] for row in rows]
    moving = [statistics.fmean(scores[i : i + WINDOW]) for i in range(len(scores) - WINDOW + 1)]
    last = rows[-WINDOW:]
    return Made(moving[-1], max(moving), *(statistics.fmean(row[key] for row in last) for key in ("reward", "kl")))


def chosen_scores(common: Sequence[str], folder: Path) -> dict[str, list[list[float]]]:
    """Return the true scores of best of n: by way of choosing, for each of `BEST_OF`, one value per single model."""
    store = store_of(common)
    runtime = Runtime(LaunchConfig(device="cpu"), 1)
    context = StageContext({}, folder, runtime, progress, lambda _: None, lambda *_: None)
    test = read_jsonl(store.open(*store.resolve("data")).file("test.jsonl"))
    prompts = [row["prompt"] for row in test[:PROMPTS] for _ in range(max(BEST_OF))]
    answerer = Answerer(store.open(*store.resolve("sft")), context, 0)
    answers = answerer.draw(prompts, DecodingConfig(max_new_tokens=64), "best of n")
    members = [
        scores_by(store.open(*store.resolve(f"reward@{member(one)}")), prompts, answers, context) for one in MEMBERS
    ]
    true = [true_score(p[-1]["content"], a.text, finished=a.stopped) for p, a in zip(prompts, answers, strict=True)]
    ways = {name: [list(map(combination(name, 1.0), zip(*members, strict=True)))] for name in COMBINED}
    return {
        name: [[best_of(n, one, true) for one in by] for n in BEST_OF]
        for name, by in {"single": members, **ways}.items()
    }


def scores_by(
    artifact: Artifact, prompts: Sequence[list[dict[str, str]]], answers: Sequence[Answer], context: StageContext
) -> list[float]:
    return RewardModel(artifact, context).score(prompts, answers)


def best_of(n: int, rewards: Sequence[float], true: Sequence[float]) -> float:
    """Return the mean true score of the best of each prompt's first n answers, by their rewards."""
    most = max(BEST_OF)
    starts = range(0, len(true), most)
    return statistics.fmean(true[max(range(start, start + n), key=rewards.__getitem__)] for start in starts)


def table(made: dict[str, list[Made]], chosen: dict[str, list[list[float]]]) -> Iterator[str]:
    """Yield the lines of two Markdown tables: mean over seeds, and range."""
    yield "| reward | true score at the end | best on the way | reward at the end | KL |"
    yield "|---|---|---|---|---|"
    for name, runs in made.items():
        cells = (
            across([getattr(one, key) for one in runs], 3 if key in ("end", "best") else 2) for key in Made._fields
        )
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield f"| chosen by | {' | '.join(f'best of {n}' for n in BEST_OF)} |"
    yield f"|---|{'---|' * len(BEST_OF)}"
    for name, by_count in chosen.items():
        yield f"| {name} | {' | '.join(across(values, 3) for values in by_count)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", default="0,1,2", help="seeds of PPO's runs, separated by commas")
    parser.add_argument("--noise", type=float, default=0.25, help="share of training pairs with swapped sides")
    parser.add_argument("--ways", default=",".join(("single", *COMBINED)), help="rewards of PPO, separated by commas")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    fixed = [f"outputs={given.outputs}", f"preferences.noise={given.noise}", "ppo.watch_judge=false"]
    common = ["experiment=frontier", *fixed, *given.overrides]
    for one in MEMBERS:
        run([*common, f"reward.seed={one}", "stage=reward", f"tag={member(one)}"])
    made: dict[str, list[Made]] = {name: [] for name in given.ways.split(",")}
    for seed in map(int, given.seeds.split(",")):
        for name, runs in made.items():
            runs.append(learned(name, seed, common))
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(table(made, chosen_scores(common, Path(folder)))))


if __name__ == "__main__":
    main()
