"""The peak of memory is that of one stage, not of all before it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps one peak for the whole process")
def test_a_peak_is_seen_after_its_memory_is_gone_and_forgotten_at_the_next_start() -> None:
    reset_peak_memory()
    before = peak_memory_mb(torch.device("cpu"))
    block = np.ones(128 * 2**20, dtype=np.uint8)
    del block
    assert peak_memory_mb(torch.device("cpu")) > before + 100
    reset_peak_memory()
    assert peak_memory_mb(torch.device("cpu")) < before + 64
