"""The losses of DPO, its variants and KTO: pure functions of log-probabilities.

Notation: d = log p(chosen) - log p_ref(chosen) - (log p(rejected) - log p_ref(rejected)), of a policy p, its reference
p_ref and a pair of answers to one prompt; s is the logistic sigmoid; e is the pair's `label_smoothing`: one for all
pairs, or the label noise of each.

To add a loss of pairs: write a function of `Pairs` and beta that returns one value per pair, add its line to `LOSSES`,
and its name to `LOSSES` of `pipeline/config/losses.py`, which checks requests (a test compares the two).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Number = Tensor | float  # one value per pair, [pairs], or one for all


class Pairs(NamedTuple):
    """The input of a loss. All tensors are [pairs]; log-probabilities are sums over an answer's tokens."""

    chosen: Tensor  # log-probability under the policy
    rejected: Tensor
    reference_chosen: Tensor  # log-probability under the reference
    reference_rejected: Tensor
    chosen_tokens: Tensor  # length of the answer in tokens
    rejected_tokens: Tensor
    label_smoothing: Number = 0.0  # probability that the label is wrong, in [0, 0.5)

    @property
    def log_ratios(self) -> tuple[Tensor, Tensor]:
        """log p - log p_ref of chosen and of rejected answers, [pairs] each; times beta, DPO's implicit rewards."""
        return self.chosen - self.reference_chosen, self.rejected - self.reference_rejected

    @property
    def difference(self) -> Tensor:
        """d, [pairs]."""
        chosen, rejected = self.log_ratios
        return chosen - rejected

    @property
    def difference_per_token(self) -> Tensor:
        """d with each log-ratio divided by the length of its answer, [pairs]."""
        chosen, rejected = self.log_ratios
        return chosen / self.chosen_tokens - rejected / self.rejected_tokens


PreferenceLoss = Callable[[Pairs, Number], Tensor]  # pairs, beta -> [pairs]


def sigmoid(pairs: Pairs, beta: Number) -> Tensor:
    """Return -log s(beta d), [pairs]: DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7)."""
    return -F.logsigmoid(beta * pairs.difference)


def sigmoid_norm(pairs: Pairs, beta: Number) -> Tensor:
    """Return -log s(beta d), with d per token, [pairs]: length-normalized DPO (Tülu 3, arXiv 2411.15124).

    TRL uses the same name.
    """
    return -F.logsigmoid(beta * pairs.difference_per_token)


def cdpo(pairs: Pairs, beta: Number) -> Tensor:
    """Return -(1 - e) log s(beta d) - e log s(-beta d), [pairs]: conservative DPO (Mitchell 2023).

    It is the expectation of DPO's loss if a share e of the labels is wrong; from "A note on DPO with noisy preferences
    and relationship to IPO", https://ericmitchell.ai/cdpo.pdf.
    """
    difference, smoothing = pairs.difference, pairs.label_smoothing
    return -(1 - smoothing) * F.logsigmoid(beta * difference) - smoothing * F.logsigmoid(-beta * difference)


def robust(pairs: Pairs, beta: Number) -> Tensor:
    """Return (-(1 - e) log s(beta d) + e log s(-beta d)) / (1 - 2e), [pairs]: robust DPO (Chowdhury et al. 2024).

    If a share e of the labels is wrong, its expectation is DPO's loss on the right labels (arXiv 2403.00409).
    """
    difference, smoothing = pairs.difference, pairs.label_smoothing
    right = -(1 - smoothing) * F.logsigmoid(beta * difference)
    wrong = -smoothing * F.logsigmoid(-beta * difference)
    return (right - wrong) / (1 - 2 * smoothing)


def ipo(pairs: Pairs, beta: Number) -> Tensor:
    """Return (d - 1 / (2 beta))^2, with d per token, [pairs]: IPO (Azar et al. 2023, arXiv 2310.12036, equation 17).

    The paper writes tau for beta and uses d of whole answers; TRL divides by their lengths, as the authors did.
    """
    return (pairs.difference_per_token - 1 / (2 * beta)) ** 2


def sft(pairs: Pairs, beta: Number) -> Tensor:
    """Return -log p(chosen) per token of the batch's chosen answers, [pairs], all equal: the SFT loss.

    Its mean over pairs is the mean over tokens. RPO (arXiv 2404.19733) and MPO (arXiv 2411.10442) add it, with a
    weight, to DPO's loss.
    """
    return (-pairs.chosen.sum() / pairs.chosen_tokens.sum()).expand(len(pairs.chosen))


LOSSES: Mapping[str, PreferenceLoss] = {
    "sigmoid": sigmoid,
    "sigmoid_norm": sigmoid_norm,
    "cdpo": cdpo,
    "robust": robust,
    "ipo": ipo,
    "sft": sft,
}
"""The losses by the names of `dpo.trainer.loss_type`."""


class Marks(NamedTuple):
    """Answers that are each marked as good or bad. Tensors are [answers]."""

    log_ratios: Tensor  # log p - log p_ref of the answer
    good: Tensor  # bool
    reference_point: Tensor  # scalar, without gradient: the KL divergence of p from p_ref, estimated


def kto(marks: Marks, beta: float, good_weight: float = 1.0, bad_weight: float = 1.0) -> Tensor:
    """Return KTO's loss, [answers]: w (1 - s(beta (r - z))) of good answers, w (1 - s(beta (z - r))) of bad ones.

    r is the log-ratio, z the reference point, w the weight of good or of bad answers (Ethayarajh et al. 2024, arXiv
    2402.01306, equation 7). The loss is bounded, which limits the effect of wrong marks.
    """
    gains = marks.log_ratios - marks.reference_point
    losses = 1 - F.sigmoid(beta * torch.where(marks.good, gains, -gains))
    return torch.where(marks.good, good_weight, bad_weight) * losses


def reference_point(log_ratios: Tensor) -> Tensor:
    """Return max(0, mean of log p - log p_ref) over answers to other prompts, [answers] -> scalar without gradient.

    It is a biased but fast estimate of the KL divergence (arXiv 2402.01306).
    """
    return log_ratios.detach().mean().clamp(min=0)


def reward_figures(pairs: Pairs, beta: Number) -> dict[str, Tensor]:
    """Return means over pairs by TRL's names: implicit rewards, accuracy, margins, log-probabilities; scalars."""
    chosen, rejected = (beta * ratio.detach() for ratio in pairs.log_ratios)
    values = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/margins": chosen - rejected,
        "logps/chosen": pairs.chosen.detach(),
        "logps/rejected": pairs.rejected.detach(),
    }
    return {name: value.mean() for name, value in values.items()}
