"""The reward model's loss against numbers computed with `math` alone, and its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.modeling.rewards.training import bradley_terry

scores = st.floats(-20, 20)


def loss_of(chosen: float, rejected: float, margin: float = 0.0, noise: float = 0.0) -> float:
    values = [torch.tensor([value], dtype=torch.float64) for value in (margin, noise)]
    both = torch.tensor([chosen, rejected], dtype=torch.float64)
    return float(bradley_terry(both, torch.tensor([[0, 1]]), torch.ones(1, dtype=torch.float64), *values))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@given(scores, scores, st.floats(0, 1), st.floats(0, 0.49))
def test_it_is_the_expectation_over_right_and_wrong_labels(c: float, r: float, margin: float, noise: float) -> None:
    """-log s(x) is log(1 + exp(-x)); the margin is what the better answer has to lead by, whichever that is."""
    expected = (1 - noise) * softplus(r - c + margin) + noise * softplus(c - r + margin)
    assert loss_of(c, r, margin, noise) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(scores, scores, st.integers(1, 5), st.integers(0, 5))
def test_noisy_pairs_are_pairs_of_single_votes(chosen: float, rejected: float, ayes: int, noes: int) -> None:
    """A pair with the share of votes against it as its noise has the mean loss of its votes, each a pair of its own."""
    votes = ayes * loss_of(chosen, rejected) + noes * loss_of(rejected, chosen)
    mean = votes / (ayes + noes)
    assert loss_of(chosen, rejected, noise=noes / (ayes + noes)) == pytest.approx(mean, rel=1e-9)


@given(st.floats(0.01, 0.49))
def test_it_is_least_where_the_model_is_as_sure_as_the_label(noise: float) -> None:
    gap = torch.tensor([math.log((1 - noise) / noise), 0.0], dtype=torch.float64, requires_grad=True)
    share = torch.ones(1, dtype=torch.float64)
    bradley_terry(gap, torch.tensor([[0, 1]]), share, label_noise=noise).backward()  # type: ignore[no-untyped-call]
    assert gap.grad is not None
    assert gap.grad.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_each_pair_has_its_own_noise_and_its_share() -> None:
    given = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)
    pairs, shares = torch.tensor([[0, 1], [1, 2]]), torch.tensor([0.75, 0.25], dtype=torch.float64)
    noise = torch.tensor([0.1, 0.4], dtype=torch.float64)
    expected = 0.75 * (0.9 * softplus(-2) + 0.1 * softplus(2)) + 0.25 * (0.6 * softplus(1) + 0.4 * softplus(-1))
    assert float(bradley_terry(given, pairs, shares, label_noise=noise)) == pytest.approx(expected, rel=1e-12)
