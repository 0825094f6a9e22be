"""Peak memory and time of stages by their number of rows, with the smallest model and one optimizer step.

    python benchmarks/rows.py [--rows 20000 200000] [--stages data sft preferences reward dpo] [--to FILE]

Rows are random words: a prompt of 12, answers of 12 on average. Each stage runs in a process of its own, from its
files to its result, so what grows with the rows is the preparation: reading, rendering, tokenizing, and for DPO the
reference's log-probabilities. Memory is the peak of the resident set, libraries included (about 500 MiB); pages of
files that are mapped into memory count, too, though the system can take them back.
"""

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "gpu"))

import torch
from cases import SHAPES
from random_models import random_model, tokenizer_of
from safetensors.torch import load_file

from pipeline.config.nodes.demonstrations import DataConfig
from pipeline.config.nodes.learning import DpoConfig, RewardConfig
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import SftConfig
from pipeline.config.nodes.people import PreferencesConfig
from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.stages import data, dpo, preferences, reward, sft
from pipeline.store.artifact import Artifact, external
from pipeline.store.hashing import content_hash

STAGES = {"data": data, "sft": sft, "preferences": preferences, "reward": reward, "dpo": dpo}
HELD_OUT = 200  # rows to evaluate on
SETTINGS: dict[str, Any] = {"seed": 0, "batch_size": 32, "learning_rate": 1e-4, "evaluations": 1, "warmup": 0.0}
SETTINGS["trainer"] = {"max_steps": 1, "logging_steps": 1}
READING: dict[str, Any] = {"format": "auto", "columns": {}, "codes": {}, "on_bad_row": "drop", "max_bad_fraction": 0.2}
CONFIGS: dict[str, Any] = {
    "data": lambda: DataConfig(source="files", seed=0),
    "sft": lambda: SftConfig(**SETTINGS),
    "preferences": lambda: PreferencesConfig(seed=0, **READING),
    "reward": lambda: RewardConfig(**SETTINGS),
    "dpo": lambda: DpoConfig(**SETTINGS),
}


def texts(count: int, seed: int) -> Iterator[str]:
    """Random words that the tiny model's tokenizer knows."""
    rng, vocabulary = random.Random(seed), SHAPES["tiny"].vocabulary
    for _ in range(count):
        yield " ".join(f"w{rng.randrange(3, vocabulary)}" for _ in range(rng.randrange(6, 19)))


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def write_files(folder: Path, rows: int) -> None:
    """The files that the stages read."""
    folder.mkdir(parents=True)
    for count, names in ((rows, ("sft.jsonl", "train.jsonl")), (HELD_OUT, ("dev.jsonl", "test.jsonl"))):
        with (folder / names[0]).open("w") as demonstrations, (folder / names[1]).open("w") as pairs:
            for prompt, a, b in zip(*(texts(count, seed) for seed in range(3)), strict=True):
                asked, first, second = turn("user", prompt), turn("assistant", a), turn("assistant", b)
                demonstrations.write(json.dumps({"messages": asked + first}) + "\n")
                pairs.write(json.dumps({"prompt": asked, "chosen": first, "rejected": second, "margin": 1.0}) + "\n")


def context_of(stage: str, folder: Path, output: Path) -> StageContext:
    model = external("model", "tiny", {"path": str(folder / "model"), "dtype": "float32", "chat_template": None})
    made = Artifact("made", "rows", folder)
    inputs = {
        "data": {"files": external("files", "rows", {"paths": [str(folder / "sft.jsonl")]})},
        "sft": {"base": model, "data": made},
        "preferences": {"rankings": external("rankings", "rows", {"paths": [str(folder / "train.jsonl")]})},
    }.get(stage, {"policy": model, "preferences": made})
    runtime = Runtime(LaunchConfig(device="cpu", data_processes=1), 1, gates="off")
    return StageContext(inputs, output, runtime, progress, lambda _: None, lambda *_: None)


def result_of(output: Path, metrics: dict[str, float]) -> str:
    """A hash of what the stage made: its losses, and every number of its weights or every line of its rows."""
    weights = output / "model" / "model.safetensors"
    made: Any = {name: metrics[name] for name in ("train_loss", "eval_loss", "accuracy") if name in metrics}
    if weights.is_file():
        made |= {name: tensor.view(torch.uint8).numpy().tobytes().hex() for name, tensor in load_file(weights).items()}
    else:
        made |= {file.name: file.read_text() for file in sorted(output.glob("*.jsonl"))}
    return content_hash(json.dumps(made))[:12]


def _measure(send: Any, stage: str, folder: Path) -> None:
    torch.set_num_threads(1)
    output = Path(tempfile.mkdtemp(dir=folder))
    reset_peak_memory()
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    metrics = STAGES[stage].run(CONFIGS[stage](), context_of(stage, folder, output))
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    peak = peak_memory_mb(torch.device("cpu"))
    send.send((peak, spent, result_of(output, dict(metrics))))
    shutil.rmtree(output)


def measured(stage: str, folder: Path) -> tuple[float, float, str]:
    """MiB, CPU seconds and the result's hash of a stage in a process of its own."""
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_measure, args=(send, stage, folder))
    process.start()
    send.close()
    found: tuple[float, float, str] = receive.recv()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", type=int, default=[20_000, 200_000])
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--to", type=Path, help="where the table goes")
    given = parser.parse_args()
    lines = ["| rows | stage | peak MiB | CPU s | result |", "|---|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "rows"
            write_files(folder, rows)
            random_model(SHAPES["tiny"], "cpu").float().save_pretrained(folder / "model")
            tokenizer_of(SHAPES["tiny"].vocabulary).save_pretrained(folder / "model")
            for stage in given.stages:
                peak, spent, result = measured(stage, folder)
                lines.append(f"| {rows:,} | {stage} | {peak:,.0f} | {spent:,.0f} | {result} |")
                print(lines[-1], flush=True)
                if given.to:
                    given.to.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
