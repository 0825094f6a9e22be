"""The product of states and a large vocabulary in tiles, beside the whole one: seconds by vocabulary and rows.

    python benchmarks/head.py [--threads 1] [--width 576] [--runs 9]

Weights and states are random, in float32 on a CPU. Both ways are timed in turn. Given are the whole product's billions
of operations a second, and the time in tiles beside it: median and range of the runs. At most 2^23 logits are in
memory at once in the pipeline's passes, so the last number of rows is what a pass has.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

VOCABULARIES = (32_000, 49_152, 50_257, 128_256, 151_936)
ROWS = (8, 32)


def ratios(vocabulary: int, rows: int, width: int, runs: int) -> str:
    """Return a cell of the table."""
    import torch

    from pipeline.modeling.tiles import TiledLinear

    layer = torch.nn.Linear(width, vocabulary, bias=False)
    ways, states = (layer, TiledLinear(layer)), torch.randn(rows, width)
    seconds: list[list[float]] = [[], []]
    with torch.no_grad():
        for _ in range(runs + 1):  # the first one is left out
            for own, way in zip(seconds, ways, strict=True):
                began = time.perf_counter()
                way(states)
                own.append(time.perf_counter() - began)
    whole, tiled = (own[1:] for own in seconds)
    found = [one / other for one, other in zip(tiled, whole, strict=True)]
    rate = 2 * rows * width * vocabulary / statistics.median(whole) / 1e9
    return f"{rate:.0f} G/s, {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def main() -> None:
    takes = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    takes.add_argument("--threads", type=int, default=1)
    takes.add_argument("--width", type=int, default=576, help="of the states; 576 is SmolLM2 135 M's")
    takes.add_argument("--runs", type=int, default=9)
    given = takes.parse_args()

    import torch

    from pipeline.modeling.passes import MAX_LOGITS

    torch.set_num_threads(given.threads)
    print(f"| vocabulary | {' | '.join(f'{rows} rows' for rows in ROWS)} | all of a pass |")
    print(f"|---|{'---|' * len(ROWS)}---|")
    for vocabulary in VOCABULARIES:
        most = MAX_LOGITS // vocabulary
        cells = [ratios(vocabulary, rows, given.width, given.runs) for rows in (*ROWS, most)]
        print(f"| {vocabulary:,} | {' | '.join(cells[:-1])} | {most} rows: {cells[-1]} |", flush=True)


if __name__ == "__main__":
    main()
