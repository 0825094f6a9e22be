"""Correlations of scores: reward with length (a common reward hack), the judge with the true score. Pure functions."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from pipeline.evaluation.comparison import Comparison
from pipeline.report.charts import Cloud, scatter
from pipeline.report.svg import Point

DOTS = 150  # points per policy, approximately: enough to show the shape, few enough for one page


class Pair(NamedTuple):
    """Two numbers of an answer, and the meaning of their correlation."""

    title: str
    x: str
    x_name: str
    y: str
    y_name: str
    meaning: str


PAIRS = (
    Pair("Reward against length", "tokens", "tokens of the answer", "reward", "reward",
         "Where reward rises with length alone, PPO learns to be long."),
    Pair("Judge's reward against length", "tokens", "tokens of the answer", "judge_reward", "judge's reward",
         "If the judge's reward rises with length, it does not measure quality."),
    Pair("Reward against the judge", "judge_reward", "judge's reward", "reward", "reward",
         "High reward that the independent judge does not share is exploited."),
    Pair("Judge against true score", "score", "true score", "judge_reward", "judge's reward",
         "How reliable the judge is where the true score is unknown."),
)  # fmt: skip


class Relation(NamedTuple):
    """A chart, and per policy (label, colour, correlation as text); "none" if a number does not vary."""

    pair: Pair
    chart: Markup
    correlations: Sequence[tuple[str, int, str]]


def relations(seen: Comparison) -> Iterator[Relation]:
    """Yield each pair of numbers that is known for all answers of at least one policy."""
    for pair in PAIRS:
        clouds, correlations = [], []
        for policy in seen.policies:
            xs, ys = seen.values(policy, pair.x), seen.values(policy, pair.y)
            if xs and ys:
                points: list[Point] = list(zip(xs, ys, strict=True))
                clouds.append(Cloud(policy.label, policy.colour, points[:: max(1, len(points) // DOTS)]))
                value = correlation(xs, ys)
                correlations.append((policy.label, policy.colour, "none" if value is None else f"{value:+.2f}"))
        if clouds:
            yield Relation(pair, scatter(clouds, pair.x_name, pair.y_name), correlations)


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None if one of the two does not vary."""
    from scipy.stats import spearmanr  # the import takes a second

    if min(len(set(values)) for values in (xs, ys)) < 2:
        return None
    return float(spearmanr(xs, ys).statistic)
