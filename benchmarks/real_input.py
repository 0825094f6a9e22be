"""SFT and DPO on data that other people made, with a small model that other people trained.

    python benchmarks/real_input.py ../shared/data [--outputs FOLDER]

Nothing is special-cased: every file is named on the command line of `python -m pipeline` as a user would, and what the
table prints is read back from the manifests.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.artifacts import Artifact, Store

DEMONSTRATIONS = ("sft/alpaca_format_seed_tasks.json", "sft/sharegpt_dummy.json")
JUDGEMENTS = (
    "rankings/pandalm_neutral.jsonl",
    "rankings/squality_neutral.jsonl",
    "preferences/hh_harmless_pairs.jsonl",
)
PROJECT = "real_input"


def make(stage: str, outputs: Path, *overrides: str) -> Artifact:
    """Run one request as a command of its own; its output goes through."""
    request = [f"stage={stage}", f"project={PROJECT}", f"outputs={outputs}", "tracking=off", *overrides]
    subprocess.run([sys.executable, "-m", "pipeline", *request], check=True)
    store = Store(outputs, PROJECT)
    return store.open(*store.resolve(stage))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with base_model_stories260K, sft, rankings, preferences")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    given = parser.parse_args()
    model = f"model.path={given.data / 'base_model_stories260K'}"
    sft_table = Table("file", "read", "kept", "too long", "SFT rows", "train loss", "eval loss", "s", title="SFT")
    for name in DEMONSTRATIONS:
        made = make("sft", given.outputs, model, "data=files", f"data.path={given.data / name}")
        data, metrics = made.inputs["data"].metrics, made.metrics
        losses = (f"{metrics['train_loss']:.3f}", f"{metrics['eval_loss']:.3f}", f"{made.manifest['seconds']:.0f}")
        counts = (data["read"], data["kept"], data["dropped"] - data["duplicates"], metrics["rows"])
        sft_table.add_row(name, *(f"{count:.0f}" for count in counts), *losses)
    dpo_columns = ("file", "read", "pairs", "ties", "alpha", "fit in training", "accuracy", "margin", "s")
    dpo_table = Table(*dpo_columns, title=f"DPO from the SFT policy on {DEMONSTRATIONS[0]}")
    for name in JUDGEMENTS:
        judged = ("labeling=file", f"labeling.path={given.data / name}", f"data.path={given.data / DEMONSTRATIONS[0]}")
        made = make("dpo", given.outputs, model, "data=files", *judged)
        preferences, metrics = made.inputs["preferences"].metrics, made.metrics
        alpha = f"{preferences['alpha']:.2f}" if "alpha" in preferences else "—"
        counts = [f"{preferences[key]:.0f}" for key in ("read", "pairs", "ties")]
        fit = f"{metrics['pairs']:.0f} of {preferences['train']:.0f}"
        results = (f"{metrics['accuracy']:.2f}", f"{metrics['margin']:.3f}", f"{made.manifest['seconds']:.0f}")
        dpo_table.add_row(name, *counts, alpha, fit, *results)
    console = Console(width=130)
    console.print(sft_table)
    console.print(dpo_table)


if __name__ == "__main__":
    main()
