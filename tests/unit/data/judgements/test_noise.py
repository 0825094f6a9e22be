"""The label noise of pairs from votes, and the refusal of rows without one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from labeling.records import Ranking
from pipeline.data.judgements.noise import check_label_noise, with_swapped_sides
from pipeline.data.judgements.pooling import preferences_from_pairs, preferences_from_rankings
from pipeline.errors import RequestError
from tests.unit.data.judgements.test_pooling import ranking, rankings

FIRST, SECOND, TIE = [1, 2], [2, 1], [1, 1]
FILE = Path("train.jsonl")


@pytest.mark.parametrize(
    ("votes", "pool", "expected"),
    [
        ([FIRST], "majority", 1 / 3),
        ([FIRST, FIRST], "majority", 1 / 4),
        ([FIRST, FIRST, FIRST], "majority", 1 / 5),
        ([SECOND, FIRST, SECOND], "majority", 2 / 5),
        ([FIRST, FIRST, TIE], "majority", 1.5 / 5),
        ([FIRST, TIE, TIE], "net", 2 / 5),
    ],
)
def test_label_noise_by_hand(votes: list[list[int]], pool: Any, expected: float) -> None:
    (row,) = preferences_from_rankings([ranking(["a", "b"], *votes)], pool).rows
    assert row["label_noise"] == pytest.approx(expected)


@given(rankings(), st.sampled_from(["majority", "net"]))
def test_it_is_the_posterior_mean_of_a_vote_against(row: Ranking, pool: Any) -> None:
    """With a uniform prior on the share of people who prefer the rejected answer; and the order is the likelier one."""
    for found in preferences_from_rankings([row], pool).rows:
        sides = [found[side][0]["content"] for side in ("chosen", "rejected")]  # type: ignore[literal-required]
        slots = [[i for i, text in enumerate(row["responses"]) if text == side] for side in sides]
        compared = [(one["ranks"][i], one["ranks"][j]) for one in row["rankings"] for i in slots[0] for j in slots[1]]
        against = sum(a > b for a, b in compared) + sum(a == b for a, b in compared) / 2
        expected = beta(1 + against, 1 + len(compared) - against).mean()
        assert found["label_noise"] == pytest.approx(expected)
        assert 0 < found["label_noise"] < 0.5


def refusal(rows: list[dict[str, Any]]) -> str:
    with pytest.raises(RequestError) as raised:
        check_label_noise(rows, FILE, "dpo.label_noise", lambda _: None)
    assert raised.value.status == 2
    return str(raised.value)


def test_rows_without_a_usable_label_noise_are_refused() -> None:
    ready_made = preferences_from_pairs([{"prompt": "p", "chosen": "a", "rejected": "b"}]).rows
    message = refusal([{"label_noise": 0.1}, *ready_made])  # type: ignore[list-item]
    assert "dpo.label_noise=true: train.jsonl, line 2, has no label_noise" in message
    assert "bring rankings (labeling.path), or leave dpo.label_noise out" in message
    for value in (0.5, -0.1, float("nan"), "much", True):
        assert f"train.jsonl, line 1: label_noise is {value!r}" in refusal([{"label_noise": value}])


def test_the_same_label_noise_in_all_rows_is_remarked_on() -> None:
    said: list[str] = []
    check_label_noise([{"label_noise": 0.2}, {"label_noise": 0.3}], FILE, "dpo.label_noise", said.append)
    assert not said
    check_label_noise([{"label_noise": 1 / 3}] * 2, FILE, "dpo.label_noise", said.append)
    assert said == ["train.jsonl: label_noise is 0.33 in every pair, so dpo.label_noise treats all pairs alike"]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 10), (0.5, 20)])
def test_so_many_pairs_are_wrong_and_nothing_else_changes(share: float, count: int) -> None:
    rows = preferences_from_rankings([ranking([f"a{n}", f"b{n}"], FIRST) for n in range(40)], "majority").rows
    found = with_swapped_sides(rows, share, seed=0)
    turned = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} == made
        for row, made in zip(rows, found, strict=True)
    ]
    assert sum(turned) == count
    assert all(made == row for row, made, other in zip(rows, found, turned, strict=True) if not other)
    assert not share or with_swapped_sides(rows, share, seed=1) != found
