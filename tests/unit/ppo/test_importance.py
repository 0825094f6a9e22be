"""Importance weights and the distance of a sampler from the policy, against formulas and exact distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import at_most
from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.ppo.importance import (
        arrival,
        arrival_sums,
        deviation,
        sampler_figures,
        sums_of,
        truncated_weights,
    )
    from pipeline.ppo.losses import policy_loss
    from pipeline.ppo.rollouts import aligned, answer_mask

seeds = st.integers(0, 2**32)


def distributions(seed: int, off: float, rows: int = 200, vocabulary: int = 30) -> tuple[Any, Any, Any]:
    """Return log-probabilities [rows, vocabulary] of a policy and of a sampler `off` it, and the latter's tokens."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64)
    other = logits + off * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    sampler = other.log_softmax(-1)
    return logits.log_softmax(-1), sampler, torch.multinomial(sampler.exp(), 1, generator=generator)


@given(st.lists(st.tuples(st.floats(-9, 0), st.floats(-9, 0)), min_size=1), st.floats(1, 5))
def test_weights_are_those_of_the_formula(pairs: list[tuple[float, float]], cap: float) -> None:
    """min(p_policy / p_sampler, cap). Rule 25 (Y)."""
    logprobs, sampler = torch.tensor(pairs, dtype=torch.float64).T
    expected = [min(math.exp(own) / math.exp(other), cap) for own, other in pairs]
    assert truncated_weights(logprobs, sampler, cap).tolist() == pytest.approx(expected)


@given(seeds, st.floats(0, 1))
@at_most(25)
def test_weights_make_means_over_the_samplers_tokens_those_of_the_policy(seed: int, off: float) -> None:
    """Without truncation, for any function of the token; the expectation is summed over the vocabulary."""
    policy, sampler, _ = distributions(seed, off)
    values = torch.linspace(-1, 1, policy.shape[1], dtype=torch.float64)
    weighted = (sampler.exp() * truncated_weights(policy, sampler, math.inf) * values).sum(-1)
    assert torch.allclose(weighted, (policy.exp() * values).sum(-1))


@given(st.lists(st.tuples(*[st.floats(-3, 0)] * 3, st.floats(-2, 2)), min_size=1, max_size=20), st.floats(1, 3))
def test_a_weighted_advantage_is_a_weighted_loss(tokens: list[tuple[float, ...]], cap: float) -> None:
    """The clipped loss of each token is proportional to its advantage, which therefore carries the weight."""
    now, old, sampler, advantages = torch.tensor(tokens, dtype=torch.float64).T
    weights = truncated_weights(old, sampler, cap)
    alone = [float(policy_loss(*(x[[i]] for x in (now, old, advantages)), 0.2).loss) for i in range(len(tokens))]
    expected = sum(float(weight) * loss for weight, loss in zip(weights, alone, strict=True))
    assert float(policy_loss(now, old, advantages * weights, 0.2).loss) == pytest.approx(expected, abs=1e-9)


def test_a_sampler_that_is_the_policy_has_weights_of_1_and_no_distance() -> None:
    logprobs = torch.tensor([[-0.5, -2.0, 0.0]])
    mask = torch.tensor([[True, True, False]])
    assert sampler_figures(logprobs, logprobs, mask, 2.0) == {
        **{"sampler_kl": 0, "sampler_difference": 0, "sampler_difference_max": 0},
        **{"importance_weight": 1, "importance_capped": 0},
    }
    assert "importance_weight" not in sampler_figures(logprobs, logprobs, mask, None)


def test_figures_are_means_over_real_tokens() -> None:
    policy = torch.tensor([[-1.0, -2.0], [-3.0, 5.0]])
    sampler = torch.tensor([[-1.5, -1.0], [-4.0, 0.0]])
    found = sampler_figures(policy, sampler, answer_mask([2, 1]), 2.0)
    expected = {"sampler_kl": -0.5 / 3, "sampler_difference": 2.5 / 3, "sampler_difference_max": 1.0}
    weights = [math.exp(0.5), math.exp(-1.0), 2.0]
    assert found == pytest.approx(expected | {"importance_weight": sum(weights) / 3, "importance_capped": 1 / 3})


def test_rows_of_numbers_become_a_table() -> None:
    table = aligned([[1.0, 2.0], [3.0]], answer_mask([2, 1]))
    assert table.tolist() == [[1.0, 2.0], [3.0, 0.0]]


@given(seeds, st.floats(0.01, 0.3), st.floats(0.02, 0.5), st.floats(-1, 2))
@at_most(50)
def test_the_share_of_a_change_that_arrived_is_found_whatever_the_precision(
    seed: int, noise: float, size: float, share: float
) -> None:
    """A sampler with `share` of a change and other kernels: the share is within its standard errors. Rule 25 (Y)."""
    generator = torch.Generator().manual_seed(seed)
    before, change, off = (torch.randn(4000, generator=generator, dtype=torch.float64) for _ in range(3))
    change, off = size * change, noise * off
    found = arrival(arrival_sums(before + change, before, before + share * change + off))
    assert abs(found.share - share) < 6 * found.error
    assert found.error == pytest.approx(noise / size / math.sqrt(4000), rel=0.1)


def test_sums_of_parts_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    now, before, sampler = (torch.randn(50, generator=generator) for _ in range(3))
    parts = [arrival_sums(now[part], before[part], sampler[part]) for part in (slice(0, 20), slice(20, 50))]
    assert arrival(sum(parts)) == pytest.approx(arrival(arrival_sums(now, before, sampler)))
    assert deviation(sums_of(now[:20]) + sums_of(now[20:])) == pytest.approx(deviation(sums_of(now)))


def test_a_policy_that_did_not_change_tells_nothing() -> None:
    same = torch.randn(50)
    assert arrival(arrival_sums(same, same, same)).error == math.inf
    assert arrival(torch.zeros(4)).error == math.inf


@pytest.mark.parametrize(("temperature", "top_k", "low", "high"), [(1, 30, -4, 4), (0.8, 30, 6, 99), (1, 5, 6, 99)])
def test_drawn_tokens_are_as_probable_as_the_entropy_says(
    temperature: float, top_k: int, low: float, high: float
) -> None:
    """Their log-probability is the negative entropy on average; a lower temperature or a top-k shows."""
    policy, _, _ = distributions(0, 0.0, rows=4000)
    logits = (policy / temperature).masked_fill(policy < policy.topk(top_k).values[:, -1:], -math.inf)
    tokens = torch.multinomial(logits.softmax(-1), 1, generator=torch.Generator().manual_seed(1))
    entropy = -(policy.exp() * policy).sum(-1)
    assert low < deviation(sums_of(policy.gather(1, tokens)[:, 0] + entropy)).z < high
