"""What a real 135 M model learns, not only how fast: the whole chain on the playground, judged by its true scorer.

    python benchmarks/gpu/learning.py --model FOLDER [--device cuda] [--to FILE] [key=value …]

SFT on 2,000 demonstrations, rankings of simulated annotators, DPO, a reward model, PPO and the evaluation, with LoRA on
frozen weights in bfloat16: the same command as on any machine. The table has each stage's seconds and figures.
"""

import argparse
import io
import sys
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console

from pipeline.__main__ import main as pipeline
from pipeline.commands.closing import policies_table
from pipeline.config import compose
from pipeline.config.schema import PipelineConfig
from pipeline.files import write_atomically
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PROJECT = "learning"
SETTINGS = (
    *("peft=lora", "labeling=simulated", "tracking=off", "sft.learning_rate=4e-4", "sft.epochs=2", "sft.batch_size=32"),
    *("sample.decoding.batch_size=500", "dpo.learning_rate=5e-5", "dpo.epochs=1", "dpo.batch_size=32"),
    *("reward.learning_rate=2e-4", "reward.epochs=2", "reward.batch_size=16", "ppo.learning_rate=1e-4"),
    *("ppo.iterations=20", "ppo.rollouts=128", "ppo.batch_size=64", "ppo.sampling_batch_size=128"),
    *("evaluate.decoding.batch_size=512", "sample.decoding.max_new_tokens=48", "ppo.max_new_tokens=48"),
    *("evaluate.decoding.max_new_tokens=48",),
)
REHEARSAL = (  # on a CPU: that it runs, not what it finds
    *("data.world.demonstrations=16", "data.world.dev=8", "data.world.preference_prompts=24", "model.dtype=float32"),
    *("sft.batch_size=8", "dpo.batch_size=8", "reward.batch_size=8"),
    *("data.world.rl_prompts=8", "data.world.test_prompts=12", "sft.epochs=1", "reward.epochs=1", "ppo.iterations=1"),
    *("ppo.rollouts=8", "ppo.batch_size=8", "sample.decoding.max_new_tokens=8", "ppo.max_new_tokens=8"),
    *("evaluate.decoding.max_new_tokens=8", "evaluate.judge=false"),  # so few prompts leave no pairs for a judge
)
STAGES = ("data", "sft", "sample", "preferences", "dpo", "reward", "ppo", "evaluate")
SHOWN = ("eval_loss", "accuracy", "accuracy_longer", "accuracy_people", "margin", "alpha", "reward", "kl", "tokens")


def row(stage: str, artifact: Artifact) -> str:
    found = [f"{name} {artifact.metrics[name]:,.2f}" for name in SHOWN if name in artifact.metrics]
    memory = artifact.metrics.get("peak_memory_mb", 0.0) / 1024
    return f"| {stage} | {artifact.manifest['seconds']:.1f} | {memory:.2f} | {', '.join(found)} |"


def policies(evaluated: Artifact, config: PipelineConfig) -> str:
    """The closing table of the command, as Markdown."""
    table = policies_table(evaluated, config)
    table.box, table.title_justify = MARKDOWN, "left"
    shown = io.StringIO()
    Console(width=160, file=shown).print(table)
    return shown.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--to", type=Path)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    places = (f"project={PROJECT}", f"outputs={given.outputs}", "model=hub", f"model.path={given.model}")
    size = REHEARSAL if given.device == "cpu" else ()
    request = [*places, *SETTINGS, *size, f"launch.device={given.device}", *given.overrides]
    store = Store(given.outputs, PROJECT)
    lines = ["| stage | s | peak GiB | |", "|---|---|---|---|"]
    for stage in STAGES:
        status = pipeline([*request, f"stage={stage}"])
        if status:
            sys.exit(f"stage={stage} ended with status {status}")
        artifact = store.open(*store.resolve(stage))
        lines.append(row(stage, artifact))
        if stage == "evaluate":
            lines += ["", policies(artifact, compose.load(request))]
        print(lines[-1])
        if given.to:
            given.to.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(given.to, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
