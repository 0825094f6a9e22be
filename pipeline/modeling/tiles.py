"""The product of states and a large vocabulary on a CPU, computed in tiles of the vocabulary.

MKL divides a product with tens of thousands of columns badly: in tiles the same product takes 0.68 to 0.95 of the time
(benchmarks/head.py).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Parameter

LEAST_VOCABULARY = 2**15  # below it, and with few rows, tiles gain nothing
LEAST_ROWS = 4
TILE = 512  # columns


class TiledLinear(Linear):
    """A linear layer that shares parameters and hooks of another and computes its product in tiles."""

    def __init__(self, linear: Linear) -> None:
        self.__dict__.update(linear.__dict__)  # no new parameters

    def forward(self, input: Tensor) -> Tensor:
        """Return what the layer returns: [rows, width of a state] -> [rows, vocabulary], also with leading ones."""
        rows = input.reshape(-1, input.shape[-1])
        if not _gains(rows):
            return super().forward(input)
        product: Tensor = _TiledProduct.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product.reshape(*input.shape[:-1], product.shape[-1])


def tiled(layer: Any) -> Any:
    """Return the layer, in tiles if it is a plain linear layer that gains by them: nothing else may happen in it."""
    plain = type(layer) is Linear and type(layer.weight) is Parameter and "forward" not in vars(layer)
    gains = plain and layer.weight.is_cpu and layer.weight.dtype == torch.float32
    return TiledLinear(layer) if gains and len(layer.weight) >= LEAST_VOCABULARY else layer


def _gains(rows: Tensor) -> bool:
    """Whether tiles serve these rows: enough of them in float32, without autocast or a compiler."""
    elsewhere = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    return len(rows) >= LEAST_ROWS and rows.dtype == torch.float32 and rows.is_cpu and not elsewhere


class _TiledProduct(torch.autograd.Function):
    """States [rows, width] and weights [vocabulary, width] -> logits [rows, vocabulary], bias added."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(states, weight)
        logits = states.new_empty(len(states), len(weight))
        for start in range(0, len(weight), TILE):
            part = slice(start, start + TILE)
            if bias is None:
                torch.mm(states, weight[part].T, out=logits[:, part])
            else:
                torch.addmm(bias[part], states, weight[part].T, out=logits[:, part])
        return logits

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (slope,), (states, weight) = slopes, ctx.saved_tensors
        of_states, of_weight, of_bias = ctx.needs_input_grad
        return (
            slope @ weight if of_states else None,
            slope.T @ states if of_weight else None,
            slope.sum(0) if of_bias else None,
        )
