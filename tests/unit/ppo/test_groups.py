"""Advantages from groups of answers, by hand and against the papers' sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import at_most
from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.ppo.groups import group_normalized, leave_one_out
    from pipeline.ppo.rewards import token_rewards
    from pipeline.ppo.rollouts import answer_mask


def test_by_hand_for_two_prompts() -> None:
    """The other two of 1, 2, 6 have the means 4, 3.5 and 1.5; the standard deviation of 1, 2, 3 is 1."""
    rewards = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0])
    assert leave_one_out(rewards, 3).tolist() == [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]
    assert group_normalized(torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), 3).tolist() == pytest.approx(
        [-1, 0, 1, 0, 0, 0], abs=1e-3
    )


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32))
@at_most(25)
def test_advantages_are_those_of_the_papers_sums(prompts: int, group: int, seed: int) -> None:
    """Rule 24: answer by answer, in float64; both add up to 0 for every prompt."""
    rewards = np.random.default_rng(seed).normal(size=(prompts, group))
    for i, row in enumerate(rewards):
        for j, reward in enumerate(row):
            others = [float(one) for k, one in enumerate(row) if k != j]
            given = torch.tensor(rewards).flatten()
            place = i * group + j
            assert float(leave_one_out(given, group)[place]) == pytest.approx(reward - sum(others) / len(others))
            spread = np.sqrt(sum((one - row.mean()) ** 2 for one in row) / (group - 1))
            expected = (reward - row.mean()) / (spread + 1e-4)
            assert float(group_normalized(given, group)[place]) == pytest.approx(expected)


def test_without_the_standard_deviation_grpo_is_rloo() -> None:
    """As arXiv 2503.20783 shows (appendix A): up to the factor (group - 1) / group."""
    rewards = torch.randn(12, generator=torch.Generator().manual_seed(0))
    centred = rewards.view(-1, 4) - rewards.view(-1, 4).mean(1, keepdim=True)
    assert torch.allclose(centred.flatten(), leave_one_out(rewards, 4) * 3 / 4, atol=1e-6)


def test_the_reward_of_an_answer_is_its_score_less_the_kl_of_all_its_tokens() -> None:
    mask, scores = answer_mask([2, 3]), torch.tensor([1.0, -1.0])
    kl = torch.tensor([[0.5, 1.0, 9.0], [2.0, -1.0, 1.0]])
    assert token_rewards(scores, kl, mask, 0.1).sum(1).tolist() == pytest.approx([0.85, -1.2])
