"""The memory plan beside measured peaks: SFT, DPO, reward and PPO with full, LoRA and QLoRA at three sizes, on the CPU.

    python benchmarks/memory.py [--only sft-135m] [--measured FILE] [--to FILE]

Every case runs in a process of its own (forked after the imports), for two steps on random weights and rows, as the
stage builds its trainer. Measured is the largest resident set (pipeline/modeling/memory.py) above that of the process
after the same stage has trained a tiny model: what libraries load, once and at any size, is a column of its own. Other
processes on the machine do not disturb it. The C library returns freed memory at once (mallopt), as torch's allocator
for GPUs counts it; `--as-is` leaves the C library as it is: then it keeps much of what was freed.

`--measured` keeps what was measured, so that another plan can be compared without measuring again.
"""

import argparse
import contextlib
import ctypes
import gc
import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "gpu"))

from cases import SHAPES, Case

from pipeline.memory.activations import Tuning
from pipeline.memory.phases import DRAWING, Held, Memory, Roles, Rows, Sampling, ppo, training
from pipeline.memory.shape import Shape

LENGTH = {"1m": (256, 32), "25m": (256, 8), "135m": (256, 2)}  # tokens of a row, and rows per pass
STAGES, METHODS = ("sft", "dpo", "reward", "ppo"), ("full", "lora", "qlora")
CASES = [f"{stage}-{shape}-{method}" for shape in LENGTH for stage in STAGES for method in METHODS]
MIB = 2**20
COLUMNS = (
    *("stage", "shape", "method", "rows × tokens", "planned MiB", "measured MiB", "planned / measured"),
    *("largest phase", "parts", "libraries MiB"),
)
HEAD = (f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|")


def case_of(name: str) -> Case:
    stage, shape, method = name.split("-")
    length, rows = LENGTH[shape]
    micro = rows if stage == "sft" else max(rows // 2, 1)  # a pair is two rows
    if stage == "ppo":  # four passes are sampled at once
        micro = max(rows // 4, 2)
    return Case(stage, shape, method, length, micro, dtype="float32", steps=2, uneven=True)


def planned(case: Case) -> Memory:
    """The plan for what `trainers.ours` does."""
    known, predicts = SHAPES[case.shape], case.stage != "reward"
    sizes = (known.vocabulary, known.hidden, known.inner, known.layers, known.heads, known.kv_heads)
    shape = Shape(*sizes, head_dim=known.hidden // known.heads, tied=known.tied)
    tuning = Tuning(case.method, precision=4 if case.dtype == "float32" else 2)
    held = Held(shape, tuning, with_head=predicts, language_loss=predicts)
    if case.stage == "ppo":
        half = case.length // 2
        rows = Rows(case.micro, case.length, half, recompute=case.recompute, accumulate=True)
        return ppo(Roles(held, rewards=0), rows, Sampling(4 * case.micro, half, half, DRAWING))
    if case.stage == "sft":
        return training(held, Rows(case.micro, case.length, recompute=case.recompute))
    return training(held, Rows(2 * case.micro, case.length, case.length // 2, recompute=case.recompute))


def measured(case: Case, weights: Path) -> dict[str, float]:
    """The largest resident set above that of the libraries, in MiB; run in a process of its own."""
    from trainers import Bench, ours

    from pipeline.modeling.memory import STATUS

    with tempfile.TemporaryDirectory() as folder:
        ours(replace(case, shape="tiny", length=16, micro=2), Bench(Path(folder) / "weights", "cpu"), Path(folder))
    gc.collect()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    libraries = int(line.split()[1]) / 2**10
    with tempfile.TemporaryDirectory() as folder:
        found = ours(case, Bench(weights, "cpu"), Path(folder))
    return {"measured": found.peak * 2**10 - libraries, "libraries": libraries}


def make_weights(case: Case, weights: Path) -> str:
    from trainers import Bench

    return str(Bench(weights, "cpu").model(case.shape))


def apart(work: Callable[[Case, Path], Any], case: Case, weights: Path) -> Any:
    """The result of a function in a process of its own."""
    answers, asks = get_context("fork").Pipe(duplex=False)

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # trainers print their figures
            asks.send(work(case, weights))

    process = get_context("fork").Process(target=run)
    process.start()
    asks.close()
    try:
        return answers.recv()
    except EOFError:
        raise SystemExit(f"{case.name} failed") from None
    finally:
        process.join()


def return_freed_memory_at_once() -> None:
    """Tell glibc to take blocks of 256 KiB and more from the system, and to give them back when they are freed."""
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    assert ctypes.CDLL(None).mallopt(mmap_threshold, 256 * 1024) == 1


def line_of(name: str, found: dict[str, float]) -> str:
    case = case_of(name)
    plan = planned(case)
    parts = ", ".join(f"{part} {size / MIB:,.0f}" for part, size in plan.parts.items() if size >= MIB)
    ratio = plan.total / MIB / found["measured"]
    cells = (
        *name.split("-"), f"{case.micro} × {case.length}", f"{plan.total / MIB:,.0f}", f"{found['measured']:,.0f}",
        f"{ratio:.2f}", plan.peak, parts, f"{found['libraries']:,.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="cases by a part of stage-shape-method")
    parser.add_argument("--measured", type=Path, help="where measured figures are kept; those in it are used again")
    parser.add_argument("--as-is", action="store_true", help="with the C library's own keeping of freed memory")
    parser.add_argument("--to", type=Path, help="where the table goes")
    given = parser.parse_args()
    known = json.loads(given.measured.read_text()) if given.measured and given.measured.is_file() else {}
    names = [name for name in CASES if not given.only or any(part in name for part in given.only)]
    if not {*names} <= {*known}:
        import torch
        import trainers  # noqa: F401 (the processes of the cases have its imports)

        torch.set_num_threads(1)
        if not given.as_is:
            return_freed_memory_at_once()
    lines = list(HEAD)
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        for name in names:
            if name not in known:
                if not (weights / case_of(name).shape / "config.json").is_file():
                    apart(make_weights, case_of(name), weights)
                known[name] = apart(measured, case_of(name), weights)
            lines.append(line_of(name, known[name]))
            print(lines[-1], flush=True)
            if given.measured:
                given.measured.write_text(json.dumps(known, indent=1), encoding="utf-8")
            if given.to:
                given.to.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
