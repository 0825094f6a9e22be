"""Measures how many trained numbers have changed: a run with steps that are lost in rounding looks like any other."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pipeline.modeling.fsdp import whole

MAX_SAMPLED = 4096  # numbers compared in each tensor, at even distances
MIN_MOVED = 0.3  # a smaller share causes a remark; in LoRA's first step only one of the two factors gets a gradient
MIN_KEPT = 0.5  # a smaller share causes a remark


class StartingWeights:
    """A sample of every trained tensor from before training: a few megabytes for models of any size."""

    def __init__(self, model: torch.nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values = {name: _sample(p).clone() for name, p in trained.items()}

    def moved(self, model: torch.nn.Module) -> float:
        """Return the share of the trained numbers that have changed."""
        total = changed = 0.0
        for before, after, numbers in self._pairs(model):
            total += numbers
            changed += numbers * float((before != after).double().mean())
        return changed / max(total, 1)

    def kept(self, model: torch.nn.Module, dtype: torch.dtype) -> float:
        """Return the share of the change that is left after rounding start and end to `dtype`.

        It is 1 on average for a start between the numbers of `dtype`, and 0 for a start on these numbers with steps too
        small to reach the next ones.
        """
        total = left = 0.0
        for before, after, numbers in self._pairs(model):
            change, rounded = after - before, after.to(dtype).double() - before.to(dtype).double()
            total += numbers * float((change * change).mean())
            left += numbers * float((change * rounded).mean())
        return left / total if total else 0.0

    def _pairs(self, model: torch.nn.Module) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield each tensor's sample before and now, [at most `MAX_SAMPLED`] float64, and the tensor's size."""
        now: Mapping[str, Tensor] = dict(model.named_parameters())
        for name, before in self.values.items():
            yield before.double(), _sample(now[name]).double(), now[name].numel()


def _sample(tensor: Tensor) -> Tensor:
    """Return numbers of a tensor, whole, at even distances, [at most `MAX_SAMPLED`], on the CPU."""
    flat = whole(tensor.detach()).flatten()
    return flat[:: max(1, -(-flat.numel() // MAX_SAMPLED))].cpu()


def lost_steps_remark(moved: float, kept: float | None, dtype: str) -> str | None:
    """Return a remark for a run with steps too small to change the weights they are added to; None for a healthy run.

    `kept` is the share of the change that is left in `dtype`, if a policy is used in another precision than it is
    trained in.
    """
    if moved < MIN_MOVED:
        return (
            f"only {moved:.1%} of the trained numbers have changed: the others got no gradient, or steps so small that "
            "they are lost in rounding. A higher learning rate helps."
        )
    if kept is not None and kept < MIN_KEPT:
        return (
            f"{max(kept, 0):.1%} of what training changed is left in {dtype}, in which a GPU uses this policy and "
            "export writes it. More steps or a higher learning rate help, or model.dtype=float32."
        )
    return None
