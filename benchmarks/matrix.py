"""SFT and DPO in every combination of full, LoRA and QLoRA, on the playground's tiny base.

    python benchmarks/matrix.py [--outputs FOLDER] [key=value …]

Each combination is a command of its own, so its peak memory is its own. Metrics, trainable parameters and measured bits
per base weight are read back from the manifests; QLoRA's 4.13 bits are 4 + 8/64 + 32/(64*256).
"""

import argparse
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

METHODS = ("full", "lora", "qlora")
PROJECT = "matrix"
SMALLER = ("data.world.preference_prompts=250", "evaluate.policies=[sft,dpo]", "tracking=off")


def make(stage: str, outputs: Path, *overrides: str) -> tuple[Artifact, float]:
    """Run one request as a command; returns what it made, and the command's peak memory in MB."""
    request = [f"stage={stage}", f"project={PROJECT}", f"outputs={outputs}", *SMALLER, *overrides]
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *request])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(request)} ended with status {os.waitstatus_to_exitcode(status)}")
    store = Store(outputs, PROJECT)
    return store.open(*store.resolve(stage)), usage.ru_maxrss / 1024


def row(artifact: Artifact, memory: float, *metrics: str) -> list[str]:
    values = artifact.metrics
    size = [f"{values['trainable']:,.0f}", f"{values['bits_per_base_weight']:.2f}"]
    return [*metrics, *size, f"{artifact.manifest['seconds']:.0f}", f"{memory:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("overrides", nargs="*", help="further settings, as for python -m pipeline")
    given = parser.parse_args()
    make("base", given.outputs, *given.overrides)
    size = ("trainable", "bits per base weight", "s", "peak MB")
    sft_table = Table("sft", "eval loss", *size, title="SFT")
    dpo_table = Table("sft", "dpo", "accuracy", "margin", "win rate", *size, title="DPO")
    for sft, dpo in product(METHODS, METHODS):
        peft = (f"peft@sft.peft={sft}", f"peft@dpo.peft={dpo}", *given.overrides)
        if dpo == METHODS[0]:
            made, memory = make("sft", given.outputs, *peft)
            sft_table.add_row(sft, *row(made, memory, f"{made.metrics['eval_loss']:.3f}"))
            make("preferences", given.outputs, *peft)
        made, memory = make("dpo", given.outputs, *peft)
        evaluated, _ = make("evaluate", given.outputs, *peft)
        rate = "{:.2f} [{:.2f}, {:.2f}]".format(
            *(evaluated.metrics[f"dpo/{name}"] for name in ("win_rate", "win_rate_low", "win_rate_high"))
        )
        found = (f"{made.metrics['accuracy']:.2f}", f"{made.metrics['margin']:.2f}", rate)
        dpo_table.add_row(sft, dpo, *row(made, memory, *found))
    console = Console(width=130)
    console.print(sft_table)
    console.print(dpo_table)


if __name__ == "__main__":
    main()
