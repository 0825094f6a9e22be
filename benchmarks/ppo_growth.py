"""How PPO's time and memory grow with answers, length, vocabulary and model size: one factor at a time.

    python benchmarks/ppo_growth.py [--iterations 3] [--to FILE]

From one setting of `ppo_rivals.py`, each factor is doubled or quadrupled while the others stay; all answers have the
full length, and prompts half of it. Each run is a process of its own with one thread. Given are the CPU seconds of an
iteration and the peak memory above what the imports take, and their exponents: the slope of the logarithm over that of
the factor, over all sizes and over the last step alone. Where something else takes most, an exponent is below 1.

The last column is the memory beside one float32 tensor of [rows, length, vocabulary] logits for all answers: what a run
would take that holds them all at once, even once.
"""

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppo_rivals import Setting, measured, save_model

BASE = Setting(vocabulary=1024, hidden=128, layers=2, answers=32, longest=32, prompt=16)
WIDE = replace(BASE, vocabulary=65_536)  # nearly all time and memory is in the logits
STEPS = {
    "answers": [replace(BASE, answers=count) for count in (16, 32, 64, 128)],
    "length": [replace(BASE, longest=length, prompt=length // 2) for length in (16, 32, 64, 128)],
    "vocabulary": [replace(BASE, vocabulary=words) for words in (1024, 4096, 16_384, 65_536)],
    "model size": [replace(BASE, hidden=width) for width in (64, 128, 256, 512)],
    "answers, large vocabulary": [replace(WIDE, answers=count) for count in (16, 32, 64)],
    "length, large vocabulary": [replace(WIDE, longest=length, prompt=length // 2) for length in (16, 32, 64)],
}
HEAD = (
    "| factor | size | seconds | memory, MiB | all logits at once, MiB | memory / these |\n|---|---|---|---|---|---|",
    "| factor | exponent of time, last step | exponent of memory, last step |\n|---|---|---|",
)


def size_of(factor: str, setting: Setting) -> int:
    """Return the size of a factor; of a model, the weights of its layers and its embeddings."""
    name = factor.partition(",")[0]
    if name == "model size":
        return setting.vocabulary * setting.hidden + 12 * setting.layers * setting.hidden**2
    return {"answers": setting.answers, "length": setting.longest, "vocabulary": setting.vocabulary}[name]


def logits_mib(setting: Setting) -> float:
    """Return the size of one float32 tensor of logits for all tokens of all answers."""
    return 4 * setting.answers * setting.longest * setting.vocabulary / 2**20


def exponents(sizes: Sequence[float], values: Sequence[float]) -> str:
    x, y = ([math.log(value) for value in one] for one in (sizes, values))
    slope = statistics.linear_regression(x, y).slope
    return f"{slope:.2f}, {(y[-1] - y[-2]) / (x[-1] - x[-2]):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--to", type=Path, help="where the tables go")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent / "gpu"))
    known: dict[Setting, dict[str, float]] = {}
    rows, summary = [HEAD[0]], [HEAD[1]]
    print(HEAD[0])
    for factor, settings in STEPS.items():
        for setting in settings:
            if setting not in known:
                with tempfile.TemporaryDirectory() as folder:
                    save_model(setting, Path(folder))
                    known[setting] = measured("ours", setting, Path(folder), given.iterations)
            found, whole = known[setting], logits_mib(setting)
            cells = (f"{found['seconds']:.2f}", f"{found['memory']:,.0f}", f"{whole:,.0f}")
            rows.append(
                f"| {factor} | {size_of(factor, setting):,} | {' | '.join(cells)} | {found['memory'] / whole:.2f} |"
            )
            print(rows[-1], flush=True)
        sizes = [size_of(factor, setting) for setting in settings]
        time, memory = ([known[setting][name] for setting in settings] for name in ("seconds", "memory"))
        summary.append(f"| {factor} | {exponents(sizes, time)} | {exponents(sizes, memory)} |")
    print(*summary, sep="\n")
    if given.to:
        given.to.write_text("\n".join([*rows, "", *summary]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
