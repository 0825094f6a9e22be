"""The losses of DPO against numbers from the papers' equations, computed with `math` alone, and their properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import losses as names
from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.modeling.preferences import losses
    from pipeline.modeling.preferences.losses import Pairs

OF_DIFFERENCES = ("sigmoid", "sigmoid_norm", "cdpo", "robust", "ipo")
Row = tuple[float, float, float, float]  # chosen, rejected, and the same under the reference


def pairs(rows: Sequence[Row], lengths: Sequence[tuple[int, int]] = (), smoothing: Any = 0.0) -> Pairs:
    """In float64, with gradients in what the policy says."""
    columns = [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]
    tokens = [torch.tensor(column) for column in zip(*(lengths or [(1, 1)] * len(rows)), strict=True)]
    return Pairs(*(one.requires_grad_(i < 2) for i, one in enumerate(columns)), *tokens, smoothing)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


# d = (-4 + 5) - (-7 + 6) = 2, over 2 and 4 tokens 1 / 2 + 1 / 4 = 0.75; beta 0.5, e 0.1
ROW: Row = (-4.0, -7.0, -5.0, -6.0)
LENGTHS = (2, 4)
EXPECTED = {
    "sigmoid": -log_sigmoid(1.0),
    "sigmoid_norm": -log_sigmoid(0.375),
    "cdpo": -0.9 * log_sigmoid(1.0) - 0.1 * log_sigmoid(-1.0),
    "robust": (-0.9 * log_sigmoid(1.0) + 0.1 * log_sigmoid(-1.0)) / 0.8,
    "ipo": (0.75 - 1.0) ** 2,
    "sft": 4.0 / 2,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_are_those_of_their_equations(name: str) -> None:
    found = losses.LOSSES[name](pairs([ROW], [LENGTHS], 0.1), 0.5)
    assert found.tolist() == [pytest.approx(EXPECTED[name], rel=1e-12)]


def test_every_loss_has_its_equation_checked_and_its_name_known_to_requests() -> None:
    assert set(EXPECTED) == set(losses.LOSSES) == set(names.LOSSES)


@pytest.mark.parametrize("name", EXPECTED)
def test_requests_know_which_losses_use_label_smoothing(name: str) -> None:
    plain, smoothed = (losses.LOSSES[name](pairs([ROW], [LENGTHS], e), 0.5) for e in (0.0, 0.1))
    assert (plain.item() != smoothed.item()) == (name in names.SMOOTHED)


log_probabilities = st.floats(-50, 0)
rows_of_pairs = st.lists(st.tuples(*[log_probabilities] * 4), min_size=1, max_size=5)
betas = st.floats(0.01, 2)


@given(log_probabilities, log_probabilities, betas)
def test_where_the_policy_is_its_reference_dpo_is_log_2(chosen: float, rejected: float, beta: float) -> None:
    same = pairs([(chosen, rejected, chosen, rejected)], [(3, 5)], 0.2)
    for name in ("sigmoid", "sigmoid_norm", "cdpo", "robust"):
        assert losses.LOSSES[name](same, beta).item() == pytest.approx(math.log(2), rel=1e-12)


@given(rows_of_pairs, betas)
def test_without_smoothing_they_are_plain_dpo(rows: list[Row], beta: float) -> None:
    plain = losses.sigmoid(pairs(rows), beta)
    for name in ("cdpo", "robust"):
        assert torch.equal(losses.LOSSES[name](pairs(rows), beta), plain)


@given(rows_of_pairs, betas, st.floats(0, 0.49))
def test_a_wrong_label_is_the_loss_of_the_pair_turned_round(rows: list[Row], beta: float, smoothing: float) -> None:
    """cDPO is the mixture of both, and robust DPO undoes it: its mean under wrong labels is DPO on the right ones."""
    turned = [(rejected, chosen, other, one) for chosen, rejected, one, other in rows]
    right, wrong = losses.sigmoid(pairs(rows), beta), losses.sigmoid(pairs(turned), beta)
    mixed = losses.cdpo(pairs(rows, smoothing=smoothing), beta)
    assert torch.allclose(mixed, (1 - smoothing) * right + smoothing * wrong)
    seen, flipped = (losses.robust(pairs(some, smoothing=smoothing), beta) for some in (rows, turned))
    assert torch.allclose((1 - smoothing) * seen + smoothing * flipped, right)


@given(rows_of_pairs, betas)
def test_policy_and_reference_are_two_sides_of_one_difference(rows: list[Row], beta: float) -> None:
    """Exchanged, they turn a pair round; so do its answers."""
    exchanged = [(one, other, chosen, rejected) for chosen, rejected, one, other in rows]
    turned = [(rejected, chosen, other, one) for chosen, rejected, one, other in rows]
    for name in OF_DIFFERENCES:
        loss = losses.LOSSES[name]
        assert torch.allclose(loss(pairs(exchanged), beta), loss(pairs(turned), beta))


@given(st.lists(st.tuples(*[st.floats(-5, 0)] * 4), min_size=1, max_size=5), st.floats(0.01, 0.049))
def test_a_step_down_raises_chosen_and_lowers_rejected_answers(rows: list[Row], beta: float) -> None:
    """Equally, for all that is made of the difference; the SFT loss leaves rejected ones alone. (IPO's optimum, 1 /
    (2 beta) apart, is out of reach of these numbers.)"""
    for name, loss in losses.LOSSES.items():
        given = pairs(rows, smoothing=0.1 if name in ("cdpo", "robust") else 0.0)
        loss(given, beta).sum().backward()
        assert (given.chosen.grad < 0).all()
        if name == "sft":
            assert given.rejected.grad is None
        elif name not in ("cdpo", "robust"):
            assert torch.allclose(given.rejected.grad, -given.chosen.grad)


def test_conservative_dpo_stops_at_the_confidence_that_its_labels_deserve() -> None:
    """s(beta d) = 1 - e has no gradient; DPO goes on for ever."""
    difference = math.log(0.9 / 0.1) / 0.5
    given = pairs([(difference, 0.0, 0.0, 0.0)], smoothing=0.1)
    losses.cdpo(given, 0.5).sum().backward()
    assert given.chosen.grad.item() == pytest.approx(0, abs=1e-12)


@given(rows_of_pairs, st.data())
def test_beta_and_smoothing_may_differ_from_pair_to_pair(rows: list[Row], data: st.DataObject) -> None:
    values = [data.draw(st.lists(strategy, min_size=len(rows), max_size=len(rows))) for strategy in
              (betas, st.floats(0, 0.49))]  # fmt: skip
    beta, smoothing = (torch.tensor(one, dtype=torch.float64) for one in values)
    for name in OF_DIFFERENCES:
        loss = losses.LOSSES[name]
        together = loss(pairs(rows, smoothing=smoothing), beta)
        apart = [loss(pairs([row], smoothing=e), b).item() for row, b, e in zip(rows, *values, strict=True)]
        assert together.tolist() == pytest.approx(apart, rel=1e-9)


def test_the_sft_loss_is_a_mean_over_tokens() -> None:
    given = pairs([(-6.0, 0, 0, 0), (-4.0, 0, 0, 0)], [(2, 1), (3, 1)])
    assert losses.sft(given, 0.1).tolist() == [2.0, 2.0]  # 10 nats over 5 tokens; by pairs it were 2.17


def test_kto_by_hand() -> None:
    """beta 0.5, reference point 1: a good answer 3 above it, a bad one 3 below, and each the other way round."""
    marks = losses.Marks(
        torch.tensor([4.0, -2.0, -2.0, 4.0]), torch.tensor([True, False, True, False]), torch.tensor(1.0)
    )
    low, high = 1 - 1 / (1 + math.exp(-1.5)), 1 - 1 / (1 + math.exp(1.5))
    assert losses.kto(marks, 0.5, 1.0, 2.0).tolist() == pytest.approx([low, 2 * low, high, 2 * high], rel=1e-6)


def test_the_reference_point_is_never_below_0_and_has_no_gradient() -> None:
    ratios = torch.tensor([1.0, 3.0], requires_grad=True)
    assert losses.reference_point(ratios).item() == 2.0
    assert losses.reference_point(-ratios).item() == 0.0
    assert not losses.reference_point(ratios).requires_grad
