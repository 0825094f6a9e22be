"""Stages at several sizes: what the benchmarks of speed and memory run."""

from dataclasses import dataclass
from typing import NamedTuple


class Shape(NamedTuple):
    """Weights of a known model's shape."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool


SHAPES = {
    "tiny": Shape(2048, 64, 128, 2, 4, 2, True),
    "1m": Shape(1024, 192, 512, 2, 6, 6, True),  # the embedded base's
    "25m": Shape(49_152, 320, 896, 8, 5, 5, True),
    "135m": Shape(49_152, 576, 1536, 30, 9, 3, True),  # SmolLM2-135M's
    "0.5b": Shape(151_936, 896, 4864, 24, 14, 2, True),  # Qwen2.5-0.5B's
    "1.3b": Shape(50_272, 2048, 8192, 24, 32, 32, True),  # OPT-1.3B's, with a gated MLP
    "1.5b": Shape(151_936, 1536, 8960, 28, 12, 2, True),  # Qwen2.5-1.5B's
    "8b": Shape(128_256, 4096, 14336, 32, 32, 8, False),  # Llama-3.1-8B's
}


@dataclass(frozen=True)
class Case:
    """One stage at one size."""

    stage: str
    shape: str
    method: str
    length: int  # tokens of a row, prompt and answer alike
    micro: int  # rows per pass: for dpo and reward, pairs
    recompute: bool = False
    trl: bool = True  # bare TRL beside it
    dtype: str = "bfloat16"  # of the weights as a stage loads them
    steps: int = 8  # optimizer steps
    uneven: bool = False  # every second row is a token shorter, so that batches are padded

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.shape}-{self.method}"
