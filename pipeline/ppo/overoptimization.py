"""Notices, while a run goes on, that its reward rises as the independent judge's score falls (arXiv 2210.10760)."""

from collections.abc import Mapping, Sequence

from scipy.stats import linregress

JUDGED = 6  # judged iterations that show a trend
CHANCE = 0.01  # probability of each of the two trends by chance


def part_of_ways(history: Sequence[Mapping[str, float]]) -> str | None:
    """Return a sentence if reward and judge began to part at the last row; None if not, or if they parted before.

    Rows with a judge's score count, and of them the last ones: one slope has to be above 0 and the other below, each
    with an error of at most `CHANCE` (least squares, one-sided).
    """
    judged = [row for row in history if "judge_reward" in row]
    if not history or "judge_reward" not in history[-1] or not _apart(judged) or _apart(judged[:-1]):
        return None
    first, last = judged[-JUDGED], judged[-1]
    return (
        f"since iteration {first['step']:.0f} the reward has risen from {first['reward']:.2f} to {last['reward']:.2f}, "
        f"and the independent judge's score has fallen from {first['judge_reward']:.2f} to {last['judge_reward']:.2f}: "
        "the policy may please its reward model alone. A higher ppo.kl.coefficient keeps it nearer"
    )


def _apart(judged: Sequence[Mapping[str, float]]) -> bool:
    rows = judged[-JUDGED:]
    if len(rows) < JUDGED:
        return False
    steps = [row["step"] for row in rows]
    rises = linregress(steps, [row["reward"] for row in rows], alternative="greater")
    falls = linregress(steps, [row["judge_reward"] for row in rows], alternative="less")
    return bool(rises.pvalue <= CHANCE and falls.pvalue <= CHANCE)
