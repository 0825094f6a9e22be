"""Advantages of whole answers, each from the other answers to its prompt: no value model is needed.

An answer is one action, and its reward is its score less the KL penalty of its tokens. All of its tokens have its
advantage, and the loss is a sum over tokens, so a token weighs the same in a short and in a long answer.

GRPO here differs from arXiv 2402.03300 in two ways. The KL penalty is part of the reward, as in RLOO and PPO: the
gradient of a k3 loss is not that of the KL divergence (arXiv 2506.09477), and `ppo.kl` means the same with all three.
And an answer's loss is not divided by its length, which favours short right and long wrong answers (arXiv 2503.20783).
The other bias that this paper names, the weight of prompts whose answers have similar rewards, is what remains of GRPO:
without the division by the standard deviation it is RLOO times (group - 1) / group.
"""

from collections.abc import Callable

from torch import Tensor

SMALLEST_SPREAD = 1e-4  # added to the standard deviation, for groups with equal rewards


def leave_one_out(rewards: Tensor, group: int) -> Tensor:
    """Return the reward of each answer less the mean of the other answers' to its prompt (RLOO, arXiv 2402.14740).

    `rewards` [rows] hold `group` > 1 answers to a prompt, then those to the next one. The baseline does not depend on
    its own answer, so the policy gradient stays unbiased.
    """
    answers = rewards.view(-1, group)
    others = (answers.sum(1, keepdim=True) - answers) / (group - 1)
    return (answers - others).flatten()


def group_normalized(rewards: Tensor, group: int) -> Tensor:
    """Return the rewards, [rows], less their prompt's mean, over its standard deviation (GRPO, arXiv 2402.03300)."""
    answers = rewards.view(-1, group)
    centred = answers - answers.mean(1, keepdim=True)
    return (centred / (answers.std(1, keepdim=True) + SMALLEST_SPREAD)).flatten()


GROUP_ADVANTAGES: dict[str, Callable[[Tensor, int], Tensor]] = {"rloo": leave_one_out, "grpo": group_normalized}
