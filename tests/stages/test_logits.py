"""No stage holds logits of all positions: they are made for a chunk of positions at a time, in both passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.test_figures import Run, whole_head

with lazily():
    import torch

pytestmark = pytest.mark.slow

VOCABULARY, HIDDEN, CHUNK = tiny.SIZE["vocab_size"], tiny.SIZE["hidden_size"], 3
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "sft, packed": ("sft", {"packing": True}),
    "dpo": ("dpo", {}),
    "dpo, TRL's loss": ("dpo", {"trainer": {"loss_type": ["hinge"], "optim": "sgd", "max_grad_norm": 0}}),
    "reward with SFT": ("reward", {"sft_weight": 0.5}),
}


def watched(seen: list[int]) -> Any:
    """Return a context in which every tensor with one number per token of the vocabulary is recorded: its positions."""

    from torch.utils._python_dispatch import TorchDispatchMode  # a base class cannot be loaded lazily

    def positions(one: Any) -> list[int]:
        with_logits = isinstance(one, torch.Tensor) and one.ndim > 1 and one.shape[-1] == VOCABULARY
        weights = with_logits and one.shape == (HIDDEN, VOCABULARY)  # the head's own, transposed
        return [one.numel() // VOCABULARY] if with_logits and not weights else []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = called(*args, **(kwargs or {}))
            for one in found if isinstance(found, tuple | list) else [found]:
                seen.extend(positions(one))
            return found

    return Watch()


@pytest.mark.parametrize("name", RUNS)
def test_logits_are_made_in_chunks_with_the_same_losses_and_gradients(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = tiny.model("llama")
    monkeypatch.setattr("pipeline.modeling.rewards.training.language_head", lambda *_: whole_head(head))
    runs, seen = [], []
    for size in (2**23, CHUNK * VOCABULARY):
        monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", size)
        folder = tmp_path / f"{size}"
        folder.mkdir()
        stage, changes = RUNS[name]
        made = Run(stage, None, folder, **changes)
        seen.clear()
        with watched(seen):
            runs.append(made.trained())
        assert seen
        assert (max(seen) <= CHUNK) == (size < 2**23)
    whole, chunked = runs
    for names in (("loss",), ("eval_loss",)):
        for ours, theirs in zip(chunked.seen(*names), whole.seen(*names), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
    for key, value in whole.weights.items():
        assert torch.allclose(value, chunked.weights[key], atol=1e-5), key
