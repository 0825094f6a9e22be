"""Learning curves, from the `history.jsonl` that every training stage writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from pipeline.data.rows import read_jsonl
from pipeline.evaluation.comparison import Comparison
from pipeline.report.charts import Series, curves
from pipeline.report.svg import Point
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import stage_of

HISTORY = "history.jsonl"

History = Sequence[Mapping[str, float]]


class Panel(NamedTuple):
    """One chart: its title, its unit, and the names of its metric in different libraries."""

    title: str
    unit: str
    keys: Sequence[str]


PANELS = (
    Panel("Loss", "loss (nats)", ("loss",)),
    Panel("Accuracy", "share of pairs ranked rightly", ("accuracy", "rewards/accuracies")),
    Panel("Margin", "chosen minus rejected (nats)", ("margin", "rewards/margins")),
    Panel("Reward", "reward per answer", ("reward",)),
    Panel("Judge's reward", "judge's reward per answer", ("judge_reward",)),
    Panel("True score", "true score per answer", ("true_score",)),
    Panel("KL", "KL to the reference (nats per answer)", ("kl",)),
    Panel("Length", "tokens per answer", ("length",)),
    Panel("Stopped", "share of answers that end by themselves", ("stopped",)),
    Panel("Reward with length", "correlation within an iteration", ("reward_length_correlation",)),
)
CLOCKS = {"tokens": "tokens in training", "step": "step"}
OTHERS = 3  # most charts for a history with none of the metrics in `PANELS`
NO_CURVE = {"step", "epoch", "tokens"}


@dataclass(frozen=True)
class Training:
    """The learning curves of one stage."""

    artifact: Artifact
    name: str
    colour: int | None  # of its policy; None for other models
    charts: Sequence[tuple[str, Markup]]
    kept: str


def trainings(seen: Comparison) -> Iterator[Training]:
    """Yield every training stage in the lineage that has a history, upstream first."""
    colours = {policy.artifact.reference: policy.colour for policy in seen.policies if policy.artifact}
    for made in seen.made:
        if made.is_external or not (made.path / HISTORY).is_file():
            continue
        history = read_jsonl(made.path / HISTORY)
        best = kept(history, bool(made.manifest.get("config", {}).get("keep_best", True)))
        charts = [(panel.title, chart) for panel in panels(history) if (chart := _chart(panel, history, best))]
        if charts:
            words = _words(history, best, made.metrics.get("kept"))
            yield Training(made, stage_of(made), colours.get(made.reference), charts, words)


def kept(history: History, keep_best: bool) -> Mapping[str, float] | None:
    """Return the evaluation of the kept checkpoint; None if there was no evaluation."""
    evaluated = [row for row in history if "eval_loss" in row]
    if not evaluated:
        return None
    return min(evaluated, key=lambda row: row["eval_loss"]) if keep_best else evaluated[-1]


def panels(history: History) -> list[Panel]:
    """Return the charts to draw: known metrics that vary or are evaluations, else the first `OTHERS` other metrics."""
    values: dict[str, set[float]] = {}
    for row in history:
        for key, value in row.items():
            if isinstance(value, int | float):
                values.setdefault(key, set()).add(value)
    names = [key for key, seen in values.items() if len(seen) > 1 or len(history) == 1 or key.startswith("eval_")]
    known = [panel for panel in PANELS if any(key in names or f"eval_{key}" in names for key in panel.keys)]
    unknown = [name for name in names if name not in NO_CURVE and not name.startswith("eval_")]
    return known or [Panel(name.replace("_", " ").capitalize(), name, (name,)) for name in unknown[:OTHERS]]


def _chart(panel: Panel, history: History, best: Mapping[str, float] | None) -> Markup:
    key = next(key for key in panel.keys if any(key in row or f"eval_{key}" in row for row in history))
    evaluated = points(history, f"eval_{key}")
    trained = Series("training", "train" if evaluated else "alone", points(history, key))
    series = [trained, Series("evaluation", "eval", evaluated)]
    at = clock(history)
    mark = (best[at], best[f"eval_{key}"]) if best and f"eval_{key}" in best and at in best else None
    return curves([line for line in series if line.points], CLOCKS[at], panel.unit, mark)


def clock(history: History) -> str:
    """Return the unit of progress: tokens, which are comparable between stages, or steps (older histories)."""
    return "tokens" if all("tokens" in row for row in history) else "step"


def points(history: History, key: str) -> list[Point]:
    """Return points (tokens or step, value). A row without a step counts by its position."""
    at = clock(history)
    return [
        (float(row.get(at, number)), float(row[key]))
        for number, row in enumerate(history, 1)
        if isinstance(row.get(key), int | float)
    ]


def _words(history: History, best: Mapping[str, float] | None, iteration: float | None = None) -> str:
    last = max(row.get("step", 0) for row in history)
    if best is None:
        return (
            "no evaluation while training" if iteration is None else f"kept: iteration {iteration:,.0f} of {last:,.0f}"
        )
    return f"kept: step {best.get('step', 0):,.0f} of {last:,.0f}, evaluation loss {best['eval_loss']:.3f}"
