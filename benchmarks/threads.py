"""Threads that wait for each other by sleeping soon, beside one thread and beside threads that wait as they ship.

    python benchmarks/threads.py [--runs 5] [--steps 15]

Training steps of the embedded model, untrained: of 16 x 128 tokens as the stage `base` has, of 32 x 46 as PPO's
minibatches have, and of 8 x 46. Each way runs in a process of its own, in turn: one thread, two with libgomp's
own waiting, and two as the pipeline sets them. All is done twice: with the machine's cores idle, and with programs that
keep all cores but one busy. Given is the time of a step beside one thread's: median and range.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "gpu")]

SHAPES = ((16, 128), (32, 46), (8, 46))  # rows and tokens
WAYS = {"one": "one thread", "shipped": "two, as libgomp ships", "sleeping": "two, as the pipeline sets them"}
BUSY = "while True: pass"


def run(steps: int) -> list[float]:
    """Return the seconds of a training step of each shape."""
    import torch
    from random_models import tokenizer_of

    from pipeline.config.nodes.models import BaseConfig
    from pipeline.modeling.pretraining import untrained_model

    base = BaseConfig(seed=0, world_seed=0)
    model = untrained_model(tokenizer_of(base.vocabulary), base)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step(ids: torch.Tensor) -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    found = []
    for shape in SHAPES:
        ids = torch.randint(0, base.vocabulary, shape)
        for _ in range(3):
            step(ids)
        began = time.perf_counter()
        for _ in range(steps):
            step(ids)
        found.append((time.perf_counter() - began) / steps)
    return found


def measured(way: str, steps: int) -> list[float]:
    """Return what `run` finds in a process of its own."""
    from pipeline.engine.machine import SPINS

    waiting = {"GOMP_SPINCOUNT": str(SPINS)} if way == "sleeping" else {}
    bare = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    threads = {"OMP_NUM_THREADS": "1" if way == "one" else "2"}
    command = [sys.executable, __file__, "--one-run", "--steps", str(steps)]
    asked = subprocess.run(command, env={**bare, **threads, **waiting}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(asked.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def table(seconds: dict[str, list[list[float]]], load: str) -> list[str]:
    """Return a table's lines; `seconds` maps each way to its runs."""
    cells = [f"{rows} x {tokens} tokens" for rows, tokens in SHAPES]
    lines = [f"| {load} | {' | '.join(cells)} |", f"|---|{'---|' * len(cells)}"]
    for way, name in WAYS.items():
        shown = []
        for place in range(len(SHAPES)):
            own = [found[place] for found in seconds[way]]
            if way == "one":
                shown.append(f"{1000 * statistics.median(own):.0f} ms")
            else:
                ratios = [mine / alone[place] for mine, alone in zip(own, seconds["one"], strict=True)]
                shown.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    takes = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    takes.add_argument("--runs", type=int, default=5)
    takes.add_argument("--steps", type=int, default=15, help="steps of each shape that are timed")
    takes.add_argument("--one-run", action="store_true", help=argparse.SUPPRESS)
    given = takes.parse_args()
    if given.one_run:
        print(json.dumps(run(given.steps)))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for load, count in (("idle cores", 0), (f"{cores - 1} of {cores} cores busy", cores - 1)):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
        seconds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        try:
            for number in range(given.runs):
                for way in WAYS:
                    print(f"{load}: run {number + 1} of {given.runs}, {WAYS[way]}", file=sys.stderr)
                    seconds[way].append(measured(way, given.steps))
        finally:
            for program in busy:
                program.kill()
        print("\n".join([*table(seconds, load), ""]))


if __name__ == "__main__":
    main()
