"""The maths of PPO against references written from the papers' formulas, in float64, with loops and in O(n²)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import at_most
from tests.lazily import lazily

with lazily():
    import torch
    from torch import Tensor

    from pipeline.ppo.advantages import advantages_and_returns
    from pipeline.ppo.kl import Adaptive, adapted_coefficient, k1, k3
    from pipeline.ppo.losses import policy_loss, value_loss
    from pipeline.ppo.masked import masked_mean, whiten
    from pipeline.ppo.rewards import penalized, token_rewards
    from pipeline.ppo.rollouts import answer_mask

Rows = list[list[float]]


def reference_gae(rewards: Rows, values: Rows, gamma: float, lam: float) -> tuple[Rows, Rows]:
    """Equation 16 of arXiv 1506.02438 as the sum that it is, and returns R_t = A_t + V_t; V is 0 after the end."""
    all_advantages, all_returns = [], []
    for r, v in zip(rewards, values, strict=True):
        n = len(r)
        following = [*v[1:], 0.0]
        deltas = [r[t] + gamma * following[t] - v[t] for t in range(n)]
        advantages = [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, n)) for t in range(n)]
        all_advantages.append(advantages)
        all_returns.append([a + x for a, x in zip(advantages, v, strict=True)])
    return all_advantages, all_returns


def padded(rows: Rows, rubbish: float = math.nan) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[rubbish] * (width - len(row))] for row in rows], dtype=torch.float64)


def flat(rows: Rows) -> list[float]:
    return [value for row in rows for value in row]


def random_rows(lengths: list[int], rng: np.random.Generator) -> Rows:
    return [rng.normal(size=n).tolist() for n in lengths]


lengths_of_rows = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@given(lengths_of_rows, st.integers(0, 2**32), st.floats(0.5, 1), st.floats(0, 1))
@at_most(25)
def test_advantages_and_returns_are_those_of_the_papers_sum(lengths: list[int], seed: int, gamma: float, lam: float):
    """Rule 15 (G): against the O(n²) sum of equation 16, whatever stands behind the last token."""
    rng = np.random.default_rng(seed)
    rewards, values = random_rows(lengths, rng), random_rows(lengths, rng)
    mask = answer_mask(lengths)
    found = advantages_and_returns(padded(rewards), padded(values), mask, gamma=gamma, lam=lam)
    for tensor, rows in zip(found, reference_gae(rewards, values, gamma, lam), strict=True):
        assert torch.allclose(tensor, padded(rows, 0.0), rtol=0, atol=1e-10)


def test_gae_by_hand_for_a_stopped_a_truncated_and_a_one_token_answer():
    """gamma 1, lambda 0.5; the score stands on the last real token, and nothing is bootstrapped after it (rule 14, G).

    Stopped and truncated answers of equal rewards have equal advantages: truncation costs its penalty, no more.
    """
    mask = answer_mask([3, 2, 1])
    values = torch.tensor([[0.5, 1.0, 2.0], [0.5, 1.0, 9.0], [0.25, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([3.0, 3.0, 3.0]), torch.zeros(3, 3), mask, 0.1)
    assert rewards.tolist() == [[0, 0, 3], [0, 3, 0], [3, 0, 0]]
    advantages, returns = advantages_and_returns(rewards, values, mask, gamma=1.0, lam=0.5)
    # row 0: deltas 0.5, 1, 1 -> A_2 = 1, A_1 = 1.5, A_0 = 1.25; row 1: deltas 0.5, 2 -> 2, 1.5; row 2: 2.75
    assert advantages.tolist() == [[1.25, 1.5, 1.0], [1.5, 2.0, 0.0], [2.75, 0.0, 0.0]]
    assert returns.tolist() == [[1.75, 2.5, 3.0], [2.0, 3.0, 0.0], [3.0, 0.0, 0.0]]


def test_with_lambda_one_returns_are_what_is_still_to_come():
    """gamma = lambda = 1: the Monte Carlo return, whatever the values (equation 18 of G)."""
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    _, returns = advantages_and_returns(rewards, values, answer_mask([3]), gamma=1.0, lam=1.0)
    assert returns[0].tolist() == pytest.approx([6.0, 5.0, 3.0])


@given(lengths_of_rows, st.integers(0, 2**32))
@at_most(25)
def test_whitening_gives_mean_0_and_variance_1_over_the_mask(lengths: list[int], seed: int):
    """Rule 15 (S): padding takes no part; the order of values is kept."""
    rows = random_rows(lengths, np.random.default_rng(seed))
    flat = np.array([value for row in rows for value in row])
    white = whiten(padded(rows), answer_mask(lengths))
    expected = (flat - flat.mean()) / np.sqrt(flat.var() + 1e-8)
    assert white[answer_mask(lengths)].tolist() == pytest.approx(expected.tolist(), abs=1e-9)
    assert not white[~answer_mask(lengths)].any()


def test_whitened_rewards_keep_their_mean():
    """As in arXiv 1909.08593's code; off unless asked for (rule 16, S)."""
    mask, scores = answer_mask([2, 3]), torch.tensor([1.0, 5.0])
    plain = token_rewards(scores, torch.zeros(2, 3), mask, 0.1)
    white = token_rewards(scores, torch.zeros(2, 3), mask, 0.1, whitened=True)
    assert masked_mean(white, mask) == pytest.approx(float(masked_mean(plain, mask)), abs=1e-6)
    assert float(white[mask].var(correction=0)) == pytest.approx(1, abs=1e-4)


def test_kl_costs_on_every_token_and_the_score_comes_on_the_last():
    """Rules 13, 14 (H, S): -coefficient x log-ratio per token; padding costs nothing, whatever stands there."""
    mask = answer_mask([2, 1])
    kl = torch.tensor([[0.5, -1.0], [2.0, math.nan]])
    rewards = token_rewards(torch.tensor([1.0, -1.0]), kl, mask, 0.1)
    assert rewards.flatten().tolist() == pytest.approx([-0.05, 1.1, -1.2, 0.0])


def test_a_missing_stop_token_costs_a_fixed_penalty():
    """Rule 12 (S, T; trl#3750): on top of the score, so better answers stay better."""
    found = penalized(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([True, False, False]), 1.5)
    assert found.tolist() == [1.0, -0.5, 0.5]


@given(st.integers(0, 2**32))
@at_most(25)
def test_kl_estimators_are_schulmans(seed: int):
    """k1 = -log r and k3 = r - 1 - log r with r = p_reference / p; k3 is never negative."""
    rng = np.random.default_rng(seed)
    p, q = -rng.exponential(size=8), -rng.exponential(size=8)
    r = np.exp(q - p)
    assert k1(torch.tensor(p), torch.tensor(q)).tolist() == pytest.approx((-np.log(r)).tolist(), abs=1e-9)
    assert k3(torch.tensor(p), torch.tensor(q)).tolist() == pytest.approx((r - 1 - np.log(r)).tolist(), abs=1e-9)
    assert (k3(torch.tensor(p), torch.tensor(q)) >= 0).all()


def test_kl_estimators_agree_with_the_exact_kl_in_the_mean():
    """Over a whole distribution, weighted by p, both are sum p log(p / q)."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    exact = float((p * (p / q).log()).sum())
    assert float((p * k1(p.log(), q.log())).sum()) == pytest.approx(exact)
    assert float((p * k3(p.log(), q.log())).sum()) == pytest.approx(exact)


def test_the_adaptive_coefficient_reaches_its_target():
    """Rule 13 (H, section 2.2): in a world where KL falls as the coefficient rises, KL settles at the target."""
    coefficient, adaptive = 0.01, Adaptive(target=6.0, horizon=640)
    for _ in range(200):
        kl = 1.2 / coefficient
        coefficient = adapted_coefficient(coefficient, kl, 64, adaptive)
    assert kl == pytest.approx(6.0, rel=0.01)


def test_the_adaptive_coefficient_changes_by_a_fifth_at_most():
    """The relative error counts up to ±0.2 (H)."""
    adaptive = Adaptive(target=1.0, horizon=100)
    assert adapted_coefficient(1.0, 1000.0, 100, adaptive) == pytest.approx(1.2)
    assert adapted_coefficient(1.0, 0.0, 100, adaptive) == pytest.approx(0.8)
    assert adapted_coefficient(1.0, 1.1, 100, adaptive) == pytest.approx(1.1)


def reference_policy_loss(new: Rows, old: Rows, advantages: Rows, clip: float) -> dict[str, float]:
    """Equation 7 of arXiv 1707.06347, one token after the other."""
    loss = ratios = clipped = kl = 0.0
    for n, o, a in zip(flat(new), flat(old), flat(advantages), strict=True):
        ratio = math.exp(n) / math.exp(o)
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        loss += -min(ratio * a, bounded * a)
        clipped += bounded * a < ratio * a
        ratios += ratio
        kl += ratio - 1 - math.log(ratio)
    return {"loss": loss, "ratio": ratios, "approx_kl": kl, "clipped": clipped}


def reference_value_loss(new: Rows, old: Rows, returns: Rows, clip: float) -> dict[str, float]:
    loss = clipped = 0.0
    for v, before, target in zip(flat(new), flat(old), flat(returns), strict=True):
        bounded = min(max(v, before - clip), before + clip)
        loss += 0.5 * max((v - target) ** 2, (bounded - target) ** 2)
        clipped += (bounded - target) ** 2 > (v - target) ** 2
    return {"loss": loss, "clipped": clipped}


@given(lengths_of_rows, st.integers(0, 2**32), st.floats(0.05, 0.5))
@at_most(25)
def test_losses_are_those_of_the_papers_formulas(lengths: list[int], seed: int, clip: float):
    """Golden comparison (rule 17: P, S): losses, clipped shares, mean ratio and approximate KL."""
    rng = np.random.default_rng(seed)
    new, old, advantages, returns = (random_rows(lengths, rng) for _ in range(4))
    mask = answer_mask(lengths)
    found = policy_loss(padded(new)[mask], padded(old)[mask], padded(advantages)[mask], clip)
    for name, value in reference_policy_loss(new, old, advantages, clip).items():
        assert float(getattr(found, name)) == pytest.approx(value, rel=1e-9, abs=1e-9), name
    seen = value_loss(padded(new)[mask], padded(old)[mask], padded(returns)[mask], clip)
    for name, value in reference_value_loss(new, old, returns, clip).items():
        assert float(getattr(seen, name)) == pytest.approx(value, rel=1e-9, abs=1e-9), name


def test_gradients_are_those_of_the_formulas():
    """Against finite differences; padding gets none, even where it holds NaN."""
    lengths, rng = [4, 2, 1], np.random.default_rng(1)
    new, old, advantages = (random_rows(lengths, rng) for _ in range(3))
    mask = answer_mask(lengths)
    for function, reference in ((policy_loss, reference_policy_loss), (value_loss, reference_value_loss)):
        logprobs = padded(new, 0.0).requires_grad_()
        function(logprobs[mask], padded(old)[mask], padded(advantages)[mask], 0.2).loss.backward()
        assert logprobs.grad is not None
        assert not logprobs.grad[~mask].any()
        for i, row in enumerate(new):
            for t in range(len(row)):
                sides = []
                for step in (1e-6, -1e-6):
                    moved = [list(values) for values in new]
                    moved[i][t] += step
                    sides.append(reference(moved, old, advantages, 0.2)["loss"])
                assert float(logprobs.grad[i, t]) == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-5)


def test_micro_batches_add_up_to_their_batch():
    """Rule 21 (trl#2175's kind): sums over micro batches, divided once by the tokens of the whole, are its mean."""
    lengths, rng = [5, 1, 3, 2], np.random.default_rng(2)
    new, old, advantages = (padded(random_rows(lengths, rng)) for _ in range(3))
    mask = answer_mask(lengths)
    whole = policy_loss(new[mask], old[mask], advantages[mask], 0.2).loss / mask.sum()
    parts = [policy_loss(*(table[i][mask[i]] for table in (new, old, advantages)), 0.2) for i in range(4)]
    assert float(sum(part.loss for part in parts) / mask.sum()) == pytest.approx(float(whole), abs=1e-12)
