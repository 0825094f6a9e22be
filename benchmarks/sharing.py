"""Policies that are adapters on one base: one base in memory and switched adapters, beside a base for each policy.

    python benchmarks/sharing.py [--shapes 25m 135m] [--adapters 4] [--rounds 20]

A Llama of random weights in float32, and LoRA adapters of rank 16 on all linear layers. Each way runs in a process of
its own with one thread, and loads the base and all adapters as `chat` and `evaluate` do. Given are the CPU time until
the first policy is there, the median one for each further policy and for a switch to another one that is there, and
the peak memory above what the imports take. Both ways must give the same log-probabilities, bit for bit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "gpu"))

WAYS = ("shared", "alone")


def make_policies(shape: str, adapters: int, folder: Path) -> None:
    """Write a base model and adapters on it, all of random weights."""
    import torch
    from cases import SHAPES
    from peft import LoraConfig, get_peft_model
    from random_models import random_model, tokenizer_of

    model = random_model(SHAPES[shape], "cpu").float()
    model.save_pretrained(folder / "base")
    tokenizer_of(SHAPES[shape].vocabulary).save_pretrained(folder / "base")
    config = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    for number in range(adapters):
        torch.manual_seed(number)
        adapted = get_peft_model(model, config)
        adapted.save_pretrained(folder / f"adapter{number}" / "model")
        model = adapted.unload()


def run(way: str, folder: Path, adapters: int, rounds: int) -> dict[str, Any]:
    import torch

    from pipeline.config.nodes.machine import LaunchConfig
    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.memory import peak_memory_mb
    from pipeline.progress import progress
    from pipeline.stage import Runtime, StageContext
    from pipeline.store.artifact import Artifact

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    context = StageContext({}, folder, Runtime(LaunchConfig(device="cpu"), 1), progress, print, lambda *_: None)
    source = {"path": str(folder / "base"), "dtype": "float32", "chat_template": None}
    base = Artifact("model", "base", folder / "base", {"source": source})
    names = [f"adapter{number}" for number in range(adapters)]
    policies = [base, *(Artifact("sft", name, folder / name, {}, {"base": base}) for name in names)]
    imported, loading, switching = peak_memory_mb(cpu), [], []
    answerers: list[Answerer] = []
    for one in policies:
        began = time.process_time()
        answerers.append(Answerer(one, context, 0, beside=answerers if way == "shared" else ()))
        loading.append(time.process_time() - began)
    for _ in range(rounds):
        for answerer in answerers:
            began = time.process_time()
            answerer.model  # noqa: B018 (switches)
            switching.append(time.process_time() - began)
    prompt, answer = [{"role": "user", "content": "w7 w8 w9"}], [11, 12, 13]
    logprobs = [answerer.logprobs([prompt], [answer])[0].hex() for answerer in answerers]
    return {
        "first": loading[0],
        "further": statistics.median(loading[1:]),
        "switch": statistics.median(switching),
        "memory": peak_memory_mb(cpu) - imported,
        "bases": len({id(answerer.base) for answerer in answerers}),
        "logprobs": logprobs,
    }


def measured(way: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run one way in a process of its own."""
    options = ("--folder", str(folder), "--adapters", str(given.adapters), "--rounds", str(given.rounds))
    ran = subprocess.run(
        [sys.executable, __file__, "--way", way, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{way} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["25m", "135m"])
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.folder, given.adapters, given.rounds)))
        return
    print("| shape | base models | first policy, s | each further one, ms | a switch, ms | peak memory, MiB |")
    print("|---|---|---|---|---|---|")
    for shape in given.shapes:
        with tempfile.TemporaryDirectory() as folder:
            make_policies(shape, given.adapters, Path(folder))
            both = {way: measured(way, Path(folder), given) for way in WAYS}
        if both["shared"]["logprobs"] != both["alone"]["logprobs"]:
            raise SystemExit(f"{shape}: log-probabilities differ")
        for one in both.values():
            times = f"{one['first']:.2f} | {1000 * one['further']:,.0f} | {1000 * one['switch']:.1f}"
            print(f"| {shape} | {one['bases']} | {times} | {one['memory']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
