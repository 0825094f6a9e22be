"""Bytes per logit in the plan, against the tensors that the code makes."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.memory.activations import Tuning
from pipeline.memory.phases import DRAWING, DRAWING_TOP_P, IN_AUTOGRAD, IN_READING, Held, Roles
from pipeline.memory.shape import Shape
from pipeline.modeling.drawing import TokenSampler
from pipeline.modeling.passes import backward_in_chunks, entropy, token_logprobs

VOCABULARY, HIDDEN, TOKENS = 5_000, 4, 60
WIDE = 40_000  # so that a sampler's sums over blocks hardly count
SHAPE = Shape(VOCABULARY, HIDDEN, inner=8, layers=1, heads=1, kv_heads=1, head_dim=4, tied=True)


class Live(TorchDispatchMode):
    """The most bytes at once of the tensors that operations make, in the forward and in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        made = function(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in given:
                self._add(one.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.bytes -= size


class Head:
    """A language head without a transformer; `passes` asks for no more of it."""

    size = VOCABULARY

    def __init__(self, dtype: torch.dtype, vocabulary: int = VOCABULARY) -> None:
        self.weight = torch.randn(vocabulary, HIDDEN, dtype=dtype)

    def __call__(self, states: Tensor) -> Tensor:
        return states @ self.weight.T


def bytes_per_logit(work: Callable[[], object], tokens: int, vocabulary: int = VOCABULARY) -> float:
    with Live() as live:
        work()
    return live.peak / (tokens * vocabulary)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("precision", [4, 2])
def test_ppo_learns_in_as_many_bytes_as_planned(
    precision: int, temperature: float, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", VOCABULARY * TOKENS // chunks)
    dtype = {4: torch.float32, 2: torch.bfloat16}[precision]
    states = torch.randn(TOKENS, HIDDEN, dtype=dtype, requires_grad=True)
    head: Any = Head(dtype)

    def learn() -> None:
        backward_in_chunks(states * 1, torch.arange(TOKENS), head, temperature, lambda found, _: found.sum())

    roles = Roles(Held(SHAPE, Tuning("lora", precision=precision)), temperature=temperature)
    assert bytes_per_logit(learn, TOKENS // chunks) == pytest.approx(roles.per_logit, rel=0.02)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_passes_take_as_many_bytes_as_planned(
    dtype: torch.dtype, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", VOCABULARY * TOKENS // chunks)
    states = torch.randn(TOKENS, HIDDEN, dtype=dtype, requires_grad=True)
    head: Any = Head(dtype)

    def train() -> None:
        token_logprobs(states, torch.arange(TOKENS), head).logprobs.sum().backward()

    @torch.no_grad()
    def read() -> None:
        token_logprobs(states, torch.arange(TOKENS), head, statistic=entropy)

    assert bytes_per_logit(train, TOKENS // chunks) == pytest.approx(IN_AUTOGRAD, rel=0.02)
    assert bytes_per_logit(read, TOKENS // chunks) == pytest.approx(IN_READING, rel=0.02)


def _draw(sampler: TokenSampler, head: Head, states: Tensor) -> Tensor:
    return sampler.tokens(head(states), torch.rand(len(states)))


@pytest.mark.parametrize(("top_p", "planned"), [(1.0, DRAWING), (0.9, DRAWING_TOP_P)])
def test_drawing_takes_as_many_bytes_as_planned_at_most(top_p: float, planned: int) -> None:
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        states, head = torch.randn(2, HIDDEN, dtype=dtype), Head(dtype, WIDE)
        for temperature in (1.0, 0.7):
            sampler = TokenSampler(torch.arange(WIDE) > 2, temperature, top_p)
            draw = functools.partial(_draw, sampler, head, states)
            found.append(bytes_per_logit(draw, len(states), WIDE))
    assert max(found) == pytest.approx(planned, rel=0.05)
