"""What a real chat model of 135 M parameters learns from other people's data on a CPU, and how it answers then.

    python benchmarks/real_model.py --model FOLDER --data FOLDER [--outputs FOLDER] [--to FILE] [--rows 150] [key=value]

SFT on Alpaca-format rows, DPO and a reward model on pairs that three people each judged (PandaLM), five iterations of
PPO, all with LoRA at the shipped learning rates, the evaluation, and ten questions to all policies: the commands that
anybody would type. Of each file the shortest rows are taken, to end within half an hour on two idle cores; weights are
float32, since few CPUs compute bfloat16. A run that was stopped goes on; figures are read back from the manifests.
"""

import argparse
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console

from pipeline.commands.closing import policies_table
from pipeline.config import compose
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.evaluation.winrates import wilson
from pipeline.files import write_atomically
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PROJECT = "real_model"
SETTINGS = (
    *("peft=lora", "tracking=off", "model.dtype=float32", "data=files", "labeling=file", "gates=off"),
    *("data.near_duplicates=keep", "sft.batch_size=8", "sft.evaluations=2", "dpo.batch_size=8", "dpo.evaluations=2"),
    *("reward.batch_size=8", "reward.evaluations=2", "ppo.iterations=5", "ppo.rollouts=8", "ppo.batch_size=8"),
    *("ppo.epochs=1", "ppo.max_new_tokens=48", "ppo.checkpoint_every=1", "evaluate.prompts=12", "evaluate.judge=true"),
)
STAGES = ("data", "sft", "preferences", "dpo", "reward", "ppo", "evaluate")
SHOWN = {  # metric -> how it is written
    "rows": "{:.0f} rows",
    "pairs": "{:.0f} pairs",
    "alpha": "alpha {:.2f}",
    "answer_tokens": "answers of up to {:.0f} tokens",
    "eval_loss": "evaluation loss {:.3f}",
    "accuracy": "accuracy {:.2f}",
    "accuracy_longer": "“longer wins” {:.2f}",
    "accuracy_people": "people {:.2f}",
    "margin": "margin {:.3f}",
    "reward": "reward {:.2f}",
    "kl": "KL {:.3f}",
    "moved": "{:.0%} of the trained numbers moved",
}
POLICIES = ("base", "sft", "dpo", "ppo")
ASKED = (
    "How do I keep bread fresh for longer?",
    "Write one sentence that thanks a colleague for their help.",
    "Name three things to pack for a walk in the rain.",
    "Explain to a child what a rainbow is.",
    "Give me a title for a story about a lighthouse.",
    "Say this politely: Send me the file now.",
    "What is the opposite of generous?",
    "Why do leaves fall in autumn?",
    "Turn this into a question: The train leaves at noon.",
    "Suggest a small gift for a teacher.",
)


def shortest(rows: Sequence[Any], count: int, length: Callable[[Any], int]) -> list[Any]:
    """The `count` shortest rows, in the order of the file."""
    kept = sorted(range(len(rows)), key=lambda i: (length(rows[i]), i))[:count]
    return [rows[i] for i in sorted(kept)]


def inputs(data: Path, folder: Path, count: int) -> tuple[Path, Path]:
    """Demonstrations and rankings of other people's, as files of their own."""
    rows = json.loads((data / "sft" / "alpaca_format_seed_tasks.json").read_text(encoding="utf-8"))
    rankings = read_jsonl(data / "rankings" / "pandalm_neutral.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "demonstrations.jsonl", shortest(rows, count, lambda row: len(json.dumps(row))))
    write_jsonl(folder / "rankings.jsonl", shortest(rankings, count, _asked))
    return folder / "demonstrations.jsonl", folder / "rankings.jsonl"


def _asked(ranking: dict[str, Any]) -> int:
    """Characters of prompt and answers."""
    return sum(len(str(ranking.get(key, ""))) for key in ("prompt", "input", "responses"))


def make(stage: str, outputs: Path, request: Sequence[str]) -> Artifact:
    """Run one stage as a command of its own; its output goes through."""
    subprocess.run([sys.executable, "-m", "pipeline", *request, f"stage={stage}"], check=True)
    store = Store(outputs, PROJECT)
    return store.open(*store.resolve(stage))


def stage_row(stage: str, made: Artifact) -> str:
    said = [form.format(made.metrics[name]) for name, form in SHOWN.items() if name in made.metrics]
    if stage in ("reward", "judge"):
        found = wilson(made.metrics["accuracy"], int(made.metrics["test"]))
        said.append(f"95%: {found.low:.2f} to {found.high:.2f} of {made.metrics['test']:.0f} held-out pairs")
    peak = f"{made.metrics['peak_memory_mb']:,.0f}" if "peak_memory_mb" in made.metrics else ""
    tokens = f"{made.metrics['tokens']:,.0f}" if "tokens" in made.metrics else ""
    return f"| {stage} | {made.manifest['seconds']:.0f} | {peak} | {tokens} | {', '.join(said)} |"


def policies(evaluated: Artifact, request: Sequence[str]) -> str:
    """The closing table of the command, as Markdown."""
    table = policies_table(evaluated, compose.load(request))
    table.box, table.title_justify = MARKDOWN, "left"
    shown = io.StringIO()
    Console(width=160, file=shown).print(table)
    return shown.getvalue()


def answers(made: Artifact, outputs: Path, request: Sequence[str]) -> list[dict[str, str]]:
    """What each policy says to each question, greedily, through the command `chat`; asked once per evaluation."""
    kept = outputs / PROJECT / f"chat-{made.version}.txt"
    if not kept.is_file():
        greedy = ("evaluate.decoding.temperature=0", "evaluate.decoding.max_new_tokens=40")
        lines = "\n/reset\n".join(ASKED) + "\n"
        command = [sys.executable, "-m", "pipeline", "chat", *POLICIES, *request, *greedy]
        write_atomically(
            kept, subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
    turns = kept.read_text(encoding="utf-8").split("A new conversation.")
    parts = [re.split(rf"^({'|'.join(POLICIES)})> ", turn, flags=re.M)[1:] for turn in turns]
    return [
        {name: " ".join(text.split()) for name, text in zip(part[::2], part[1::2], strict=True)}
        for part in parts
        if part
    ]


def side_by_side(said: Sequence[dict[str, str]]) -> Iterator[str]:
    for question, by_policy in zip(ASKED, said, strict=True):
        yield f"**{question}**\n"
        yield from (f"- {name}: {text}" for name, text in by_policy.items())
        yield ""


def report(made: dict[str, Artifact], outputs: Path, request: Sequence[str]) -> str:
    lines = ["| stage | s | peak MiB | tokens | |", "|---|---|---|---|---|"]
    lines += [stage_row(stage, artifact) for stage, artifact in made.items()]
    if "evaluate" in made:
        judge = made["evaluate"].inputs["judge"]
        lines += [stage_row("judge", judge), "", policies(made["evaluate"], request), ""]
        lines += side_by_side(answers(made["evaluate"], outputs, request))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder with sft and rankings")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--to", type=Path, help="where the report is written, besides the terminal")
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    demonstrations, rankings = inputs(given.data, given.outputs / PROJECT / "given", given.rows)
    files = (f"data.path={demonstrations}", f"labeling.path={rankings}")
    places = (f"project={PROJECT}", f"outputs={given.outputs}", "model=hub", f"model.path={given.model}", *files)
    request = [*places, *SETTINGS, *given.overrides]
    made: dict[str, Artifact] = {}
    for stage in STAGES:
        made[stage] = make(stage, given.outputs, request)
        if given.to:
            given.to.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(given.to, report(made, given.outputs, request))
    print(report(made, given.outputs, request))


if __name__ == "__main__":
    main()
