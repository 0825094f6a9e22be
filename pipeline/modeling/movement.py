"""How far training has moved what it trains: steps that round to nothing end in a run that looks like any other."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

SAMPLED = 4096  # numbers looked at in each tensor, at even distances
MOVED = 0.3  # a smaller share is worth a remark; in LoRA's first step only one of its two factors gets a gradient
KEPT = 0.5


class Start:
    """A sample of every trained tensor as it was before training: a few megabytes, whatever the model's size."""

    def __init__(self, model: torch.nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values = {name: _sample(p).clone() for name, p in trained.items()}

    def moved(self, model: torch.nn.Module) -> float:
        """The share of the trained numbers that are no longer what they were."""
        total = changed = 0.0
        for before, after, numbers in self._pairs(model):
            total += numbers
            changed += numbers * float((before != after).double().mean())
        return changed / max(total, 1)

    def kept(self, model: torch.nn.Module, dtype: torch.dtype) -> float:
        """How much of the change is left once start and end are rounded to `dtype`.

        1 on average where the start lies between the numbers of `dtype`, 0 where it lies on them and the steps were too
        small to reach the next ones.
        """
        total = left = 0.0
        for before, after, numbers in self._pairs(model):
            change, rounded = after - before, after.to(dtype).double() - before.to(dtype).double()
            total += numbers * float((change * change).mean())
            left += numbers * float((change * rounded).mean())
        return left / total if total else 0.0

    def _pairs(self, model: torch.nn.Module) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Each tensor's sample before and now, in float64, and how many numbers it stands for."""
        now: Mapping[str, Tensor] = dict(model.named_parameters())
        for name, before in self.values.items():
            yield before.double(), _sample(now[name]).double(), now[name].numel()


def _sample(tensor: Tensor) -> Tensor:
    """[at most `SAMPLED`] of its numbers, on the CPU."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, -(-flat.numel() // SAMPLED))].cpu()


def lost_steps(moved: float, kept: float | None, dtype: str) -> str | None:
    """What to say of a run whose steps were too small for the numbers they were added to; None if they were not.

    `kept` is what is left of the change in `dtype`, where a policy is used in another precision than it is trained in.
    """
    if moved < MOVED:
        return (
            f"only {moved:.1%} of the trained numbers have changed: the others got no gradient, or steps so small that "
            "they are lost in rounding. A higher learning rate helps."
        )
    if kept is not None and kept < KEPT:
        return (
            f"{max(kept, 0):.1%} of what training changed is left in {dtype}, in which a GPU uses this policy and "
            "export writes it. More steps or a higher learning rate help, or model.dtype=float32."
        )
    return None
