"""Reward and judge that part are noticed once, and noise is not."""

import random

import pytest

from pipeline.ppo.overoptimization import part_of_ways


def history(rises: float, falls: float, seed: int, rows: int = 20) -> list[dict[str, float]]:
    """Return judged rows, ten iterations apart, with these slopes per row and noise of 0.1, as of 100 answers."""
    draw = random.Random(seed)
    return [
        {"step": 10 * n + 1, "reward": rises * n + draw.gauss(0, 0.1), "judge_reward": -falls * n + draw.gauss(0, 0.1)}
        for n in range(rows)
    ]


def remarks(rows: list[dict[str, float]]) -> list[str]:
    return [remark for end in range(len(rows)) if (remark := part_of_ways(rows[: end + 1]))]


def test_a_rising_reward_and_a_falling_judge_are_noticed_and_told_once_at_a_time() -> None:
    found = [remarks(history(0.1, 0.1, seed)) for seed in range(50)]
    assert sum(bool(one) for one in found) >= 48
    steady = [{"step": float(n), "reward": float(n), "judge_reward": -float(n)} for n in range(1, 30)]
    (remark,) = remarks(steady)
    assert remark.startswith("since iteration 1 the reward has risen from 1.00 to 6.00, and the independent judge's")
    assert "fallen from -1.00 to -6.00" in remark


@pytest.mark.parametrize(("rises", "falls"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.1, -0.1)])
def test_nothing_is_told_where_they_do_not_part(rises: float, falls: float) -> None:
    found = [remarks(history(rises, falls, seed)) for seed in range(100)]
    assert sum(bool(one) for one in found) <= (8 if 0 in (rises, falls) and rises != falls else 0)


def test_rows_that_were_not_judged_say_nothing() -> None:
    rows: list[dict[str, float]] = [{"step": float(n), "reward": float(n)} for n in range(30)]
    assert remarks(rows) == []
    assert part_of_ways([]) is None
