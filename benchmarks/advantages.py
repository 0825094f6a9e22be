"""PPO's true score by generated tokens with a value model (gae) and with groups of answers (rloo, grpo).

    python benchmarks/advantages.py [--outputs FOLDER] [--seeds 0,1,2] [--to FILE.svg] [key=value …]

Every arm starts from the same SFT policy and the same reward model, and has the same options and as many answers per
iteration; groups have four answers. Scores are those of the answers that the runs draw, before they learn from them. A
run that was stopped goes on.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from frontier import across, run

from pipeline.config import compose
from pipeline.data.rows import read_jsonl
from pipeline.files import write_atomically
from pipeline.report.charts import Series, curves
from pipeline.report.svg import WIDTH, Point, text
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

GROUP = 4
ARMS = {"gae": 1, "rloo": GROUP, "grpo": GROUP}  # advantage -> answers per prompt
WINDOW = 10  # iterations whose answers a score is the mean of
STYLE = (
    "text {font: 12px system-ui, sans-serif; fill: #555} .grid {stroke: #ddd} polyline {fill: none; stroke-width: 1.5} "
    ".gae {stroke: #1f77b4} .rloo {stroke: #d95f02} .grpo {stroke: #1b9e77} text.gae {fill: #1f77b4; stroke: none} "
    "text.rloo {fill: #d95f02; stroke: none} text.grpo {fill: #1b9e77; stroke: none}"
)


class Run(NamedTuple):
    """A finished run of PPO, and by iteration the tokens that it has generated and the mean score of its answers."""

    made: Artifact
    generated: Sequence[float]
    scores: Sequence[float]
    kl: Sequence[float]

    @property
    def points(self) -> list[Point]:
        """Return (thousands of generated tokens, true score), a moving mean."""
        return [(self.generated[i] / 1000, self.score_at(i)) for i in range(WINDOW - 1, len(self.scores))]

    def score_at(self, iteration: int) -> float:
        """Return the mean true score of the last iterations up to one."""
        return statistics.fmean(self.scores[max(0, iteration + 1 - WINDOW) : iteration + 1])

    def last_within(self, tokens: float) -> int:
        """Return the last iteration that ends within a number of generated tokens."""
        return max(i for i, count in enumerate(self.generated) if count <= tokens)


def trained(advantage: str, seed: int, common: Sequence[str]) -> Run:
    """Make one arm with one seed."""
    own = [f"ppo.advantage={advantage}", f"ppo.group={ARMS[advantage]}"]
    request = [*common, f"seed={seed}", *own, "stage=ppo", f"tag={advantage}-{seed}"]
    run(request)
    config = compose.load(request)
    store = Store(Path(config.outputs), config.project)
    made = store.open(*store.resolve(f"ppo@{advantage}-{seed}"))
    rows = read_jsonl(made.file("history.jsonl"))
    lengths = accumulate(row["length"] * config.ppo.rollouts for row in rows)
    return Run(made, list(lengths), [row["true_score"] for row in rows], [row["kl"] for row in rows])


def table(runs: dict[str, list[Run]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: each arm's mean over seeds, and its range, at equal generated tokens."""
    tokens = min(one.generated[-1] for arm in runs.values() for one in arm)
    yield f"At {tokens:,.0f} generated tokens:"
    yield ""
    yield "| advantage | true score | KL | trained parameters |"
    yield "|---|---|---|---|"
    for name, arm in runs.items():
        ends = [one.last_within(tokens) for one in arm]
        scores = across([one.score_at(end) for one, end in zip(arm, ends, strict=True)], 3)
        kl = across(
            [statistics.fmean(one.kl[end + 1 - WINDOW : end + 1]) for one, end in zip(arm, ends, strict=True)], 2
        )
        yield f"| {name} | {scores} | {kl} | {arm[0].made.metrics['trainable']:,.0f} |"


def figure(runs: dict[str, list[Run]]) -> str:
    """Return the chart of all runs as a file of SVG, one line for each seed."""
    series = [Series(name, name, one.points) for name, arm in runs.items() for one in arm]
    chart = str(curves(series, "thousands of generated tokens", "true score"))
    legend = "".join(text(WIDTH / 2 + 50 * i, 11, name, kind=name) for i, name in enumerate(runs))
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="460" '
    styled = chart.replace("<svg ", head, 1).replace(">", f"><style>{STYLE}</style>{legend}", 1)
    return f"{styled}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the arms, separated by commas")
    parser.add_argument("--to", type=Path, help="where the chart is written")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    common = ["experiment=frontier", f"outputs={given.outputs}", *given.overrides]
    runs: dict[str, list[Run]] = {name: [] for name in ARMS}
    for seed in map(int, given.seeds.split(",")):
        for name, arm in runs.items():
            arm.append(trained(name, seed, common))
        if given.to:
            write_atomically(given.to, figure(runs))
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
