"""SFT, DPO, reward models and PPO on data that other people made, with a small model that other people trained.

    python benchmarks/real_input.py ../shared/data [--outputs FOLDER] [--arms formats,dpo,ppo] [key=value …]

`formats` is SFT on every format of demonstrations there is, from the embedded tiny base with a context of 2,048 tokens.
The second arm is a short look, from PandaLM's and HH's pairs: one epoch for the reward model, five iterations of PPO.
Nothing is special-cased: every file is named on the command line of `python -m pipeline` as a user would, and what the
table prints is read back from the manifests.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.__main__ import main as run
from pipeline.data.rows import read_jsonl
from pipeline.evaluation.winrates import wilson
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

DEMONSTRATIONS = ("sft/alpaca_format_seed_tasks.json", "sft/sharegpt_dummy.json")
FORMATS = (*DEMONSTRATIONS, "sft/oasst_trees.jsonl", "sft/gsm8k_400.jsonl", "sft/pubmedqa_200.json")
JUDGEMENTS = (
    "rankings/pandalm_neutral.jsonl",
    "rankings/squality_neutral.jsonl",
    "preferences/hh_harmless_pairs.jsonl",
)
WITH_PPO = (JUDGEMENTS[0], JUDGEMENTS[2])
SHORT = ("reward.epochs=1", "reward.weight_decay=0", "ppo.iterations=5", "ppo.watch_judge=false")
PROJECT = "real_input"


def make(stage: str, outputs: Path, *overrides: str) -> Artifact:
    """Run one request as its command does; its output goes through."""
    status = run([f"stage={stage}", f"project={PROJECT}", f"outputs={outputs}", "tracking=off", *overrides])
    if status:
        sys.exit(status)
    store = Store(outputs, PROJECT)
    return store.open(*store.resolve(stage))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with base_model_stories260K, sft, rankings, preferences")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--arms", default="formats,dpo,ppo", help="any of formats, dpo and ppo (all by default)")
    parser.add_argument("overrides", nargs="*", help="key=value for all requests: sft.epochs=0.5 …")
    given = parser.parse_intermixed_args()
    arms, more = given.arms.split(","), given.overrides
    model = ("model=small", f"model.path={given.data / 'base_model_stories260K'}")
    sft_columns = ("file", "read", "kept", "too long", "duplicates", "SFT rows", "train loss", "eval loss", "s")
    formats_table = Table(*sft_columns, title="SFT from the embedded base")
    for name in FORMATS if "formats" in arms else ():
        wide = ("base.context=2048", "data=files", f"data.path={given.data / name}")
        formats_table.add_row(name, *sft_cells(make("sft", given.outputs, *wide, *more)))
    sft_table = Table(*sft_columns, title="SFT from a model that other people trained")
    for name in DEMONSTRATIONS if {"dpo", "ppo"} & set(arms) else ():
        made = make("sft", given.outputs, *model, "data=files", f"data.path={given.data / name}", *more)
        sft_table.add_row(name, *sft_cells(made))
    dpo_columns = ("file", "read", "pairs", "ties", "alpha", "fit in training", "accuracy", "margin", "s")
    dpo_table = Table(*dpo_columns, title=f"DPO from the SFT policy on {DEMONSTRATIONS[0]}")
    reward_columns = ("file", "fit in training", "held out", "accuracy (95%)", "longer", "people", "calibration", "s")
    reward_table = Table(*reward_columns, title="Reward models from the same policy and pairs")
    ppo_columns = ("file", "iterations", "reward before", "after", "KL", "stopped", "length before", "after", "s")
    ppo_table = Table(*ppo_columns, title="PPO from the same policy, for that reward model, on its prompts")
    for name in JUDGEMENTS if {"dpo", "ppo"} & set(arms) else ():
        judged = ("labeling=file", f"labeling.path={given.data / name}", f"data.path={given.data / DEMONSTRATIONS[0]}")
        if "dpo" in arms:
            dpo_table.add_row(name, *dpo_cells(make("dpo", given.outputs, *model, "data=files", *judged, *more)))
        if "ppo" in arms and name in WITH_PPO:
            ppo = make("ppo", given.outputs, *model, "data=files", *judged, *more, *SHORT)
            reward_table.add_row(name, *reward_cells(ppo.inputs["reward"]))
            ppo_table.add_row(name, *ppo_cells(ppo))
    console = Console(width=130)
    for table in (formats_table, sft_table, dpo_table, reward_table, ppo_table):
        if table.rows:
            console.print(table)


def sft_cells(made: Artifact) -> list[str]:
    data, metrics = made.inputs["data"].metrics, made.metrics
    ledgers = (made.path / f"ledger.{part}.jsonl" for part in ("sft", "dev"))
    too_long = sum(len(read_jsonl(ledger)) for ledger in ledgers if ledger.is_file())
    counts = (data["read"], data["kept"], too_long, data["duplicates"], metrics["rows"])
    losses = [f"{metrics['train_loss']:.3f}", f"{metrics['eval_loss']:.3f}", f"{made.manifest['seconds']:.0f}"]
    return [*(f"{count:.0f}" for count in counts), *losses]


def dpo_cells(made: Artifact) -> list[str]:
    preferences, metrics = made.inputs["preferences"].metrics, made.metrics
    alpha = f"{preferences['alpha']:.2f}" if "alpha" in preferences else "—"
    counts = [f"{preferences[key]:.0f}" for key in ("read", "pairs", "ties")]
    results = [f"{metrics['accuracy']:.2f}", f"{metrics['margin']:.3f}", f"{made.manifest['seconds']:.0f}"]
    return [*counts, alpha, fit_in_training(made), *results]


def reward_cells(made: Artifact) -> list[str]:
    metrics = made.metrics
    accuracy = wilson(metrics["accuracy"], int(metrics["test"]))
    people = f"{metrics['accuracy_people']:.2f}" if "accuracy_people" in metrics else "—"
    return [
        fit_in_training(made),
        f"{metrics['test']:.0f}",
        f"{accuracy.value:.2f} [{accuracy.low:.2f}, {accuracy.high:.2f}]".replace("[", r"\["),
        f"{metrics['accuracy_longer']:.2f}",
        people,
        f"{metrics['calibration_error']:.2f}",
        f"{made.manifest['seconds']:.0f}",
    ]


def ppo_cells(made: Artifact) -> list[str]:
    metrics, first = made.metrics, read_jsonl(made.file("history.jsonl"))[0]
    iterations = f"{metrics['iterations']:.0f}" + (" (ended early)" if metrics["ended_early"] else "")
    seen = (first["reward"], metrics["reward"], metrics["kl"], metrics["stopped"], first["length"], metrics["length"])
    return [iterations, *(f"{value:.2f}" for value in seen), f"{made.manifest['seconds']:.0f}"]


def fit_in_training(made: Artifact) -> str:
    return f"{made.metrics['pairs']:.0f} of {made.inputs['preferences'].metrics['train']:.0f}"


if __name__ == "__main__":
    main()
