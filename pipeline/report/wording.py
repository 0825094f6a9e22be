"""Explains each number in words, for readers who have not read the papers."""

from collections.abc import Mapping
from typing import NamedTuple


class Meaning(NamedTuple):
    """How the report shows a metric."""

    label: str
    form: str
    better: str  # the better direction
    meaning: str  # {baseline} stands for the baseline's name


METRICS: Mapping[str, Meaning] = {
    "win_rate": Meaning(
        "Win rate", "{:.2f}", "higher is better",
        "Share of prompts on which the answer beats {baseline}'s to the same prompt; ties count half, so 0.5 is even.",
    ),
    "true_score": Meaning(
        "True score", "{:.3f}", "higher is better",
        "Mean by the playground's scorer, from 0 to 1: right, brief and polite. A cut-off answer counts half.",
    ),
    "perfect": Meaning(
        "Perfect", "{:.0%}", "higher is better", "Share of answers with the full score.",
    ),
    "judge_reward": Meaning(
        "Judge's reward", "{:.2f}", "higher is better", "Mean score by a reward model that no policy was trained on.",
    ),
    "reward": Meaning(
        "Reward", "{:.2f}", "higher, if others agree",
        "Mean score by the reward model that PPO is trained on. Not enough alone: PPO may exploit the reward model's "
        "errors.",
    ),
    "kl": Meaning(
        "KL", "{:.2f}", "lower, at equal quality",
        "How far the policy has moved from {baseline}, in nats per answer; estimated on its own answers.",
    ),
    "length": Meaning(
        "Length", "{:.1f}", "neither", "Tokens per answer. A large change may explain wins or losses by itself.",
    ),
    "stopped": Meaning(
        "Stopped", "{:.0%}", "higher is better", "Share of answers that end by themselves, before the limit on tokens.",
    ),
    "perplexity": Meaning(
        "Perplexity", "{:.2f}", "lower, with care",
        "How surprising the reference answers are to the policy. Preferences may rightly move it away from them.",
    ),
}  # fmt: skip


def meaning_of(metric: str) -> Meaning:
    """Return how to show a metric. An unknown metric is shown by its name."""
    return METRICS.get(metric) or Meaning(metric.replace("_", " ").capitalize(), "{:.3g}", "", "")


def duration(seconds: float) -> str:
    if seconds < 1:
        return "< 1 s"
    if seconds < 180:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: float) -> str:
    """Format a number of things with three digits, such as 1.39 M for 1,394,080."""
    for size, unit in ((1e9, " B"), (1e6, " M")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"
