"""An adapter whose weights do not fit is refused: peft would use it as if it had learned nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RequestError
from tests.lazily import lazily
from tests.stages.architectures import build
from tests.stages.test_sharing import LORA, adapter

with lazily():
    import torch
    from safetensors.torch import load_file, save_file

    from pipeline.config.nodes.models import PeftConfig
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.rewards.models import load_reward_for_training
    from pipeline.modeling.sources import PolicySource, source_of, tokenizer_of

Weights = dict[str, Any]  # by name
CHANGES: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "other names": (lambda given: {name.replace("lora_", "lora."): one for name, one in given.items()}, "missing"),
    "without the wrapper's names": (
        lambda given: {n.partition("model.")[2]: one for n, one in given.items()},
        "missing",
    ),
    "a layer is missing": (lambda given: {n: one for n, one in given.items() if ".layers.1." not in n}, "missing"),
    "one weight is missing": (lambda given: dict(list(given.items())[1:]), "missing"),
    "a layer more": (
        lambda given: {**given, **{n.replace(".layers.1.", ".layers.7."): one.clone() for n, one in given.items()}},
        "not here",
    ),
}


def loaded(source: PolicySource, role: str) -> Any:
    tokenizer, _ = tokenizer_of(source)
    if role == "policy":
        return load_policy(source, tokenizer, torch.device("cpu"))
    return load_reward_for_training(source, tokenizer, torch.device("cpu"), PeftConfig("lora"), 0)


@pytest.mark.parametrize("place", [0, 1], ids=["first of a stack", "second of a stack"])
@pytest.mark.parametrize("role", ["policy", "reward"])
def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, role: str, place: int) -> None:
    base = build("llama", tmp_path / "base")
    first = adapter(base, tmp_path / "first", LORA, seed=1)
    source = source_of(adapter(first, tmp_path / "second", LORA, seed=2))
    assert loaded(source, role)
    file = source.adapters[place] / "adapter_model.safetensors"
    whole = load_file(file)
    for what, (change, told) in CHANGES.items():
        save_file(change(whole), file, metadata={"format": "pt"})
        with pytest.raises(RequestError, match=told) as refused:
            loaded(source, role)
        assert str(source.adapters[place]) in str(refused.value), what
    save_file(whole, file, metadata={"format": "pt"})
    assert loaded(source, role)
