"""Finds this machine's idle cores and GPUs, and the number of threads and stages for a request."""

import os
from functools import cache
from pathlib import Path

import psutil

from pipeline.config.schema import PipelineConfig

SMALL = 50_000_000  # bytes of weights; larger models are not small
LOOK = 0.3  # seconds over which the load of the cores is measured


def is_small(config: PipelineConfig) -> bool:
    """Whether the model is about as small as the embedded one. Several threads make such a model slower."""
    folder = Path(config.model.path)
    return not config.model.path or 0 < sum(f.stat().st_size for f in folder.glob("*.safetensors")) < SMALL


def threads(config: PipelineConfig) -> int:
    """Return the torch threads per process: one for a small model, else the cores idle when the command starts."""
    return config.threads or (1 if is_small(config) else idle_cores())


def parallel(config: PipelineConfig) -> int:
    """Return how many stages run at once: one per GPU; on a CPU, one per idle core if the model is small, else one."""
    if config.launch.parallel is not None:
        return config.launch.parallel
    if config.launch.device in ("auto", "cuda") and gpus():
        return len(gpus())
    return idle_cores() if is_small(config) and config.launch.device != "mps" else 1


@cache
def idle_cores() -> int:
    """Return the number of idle cores that this process may use, at least one. Measured once per command.

    On two busy cores, a second thread made 21 s of work take 3 min 05 s.
    """
    mine = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    busy = psutil.cpu_percent(LOOK, percpu=True)
    idle = sum(1 - busy[core] / 100 for core in (mine or range(len(busy))) if core < len(busy))
    return max(1, round(float(idle)))


def gpus() -> list[str]:
    """Return the visible NVIDIA GPUs, named as in CUDA_VISIBLE_DEVICES, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [file.name.removeprefix("nvidia") for file in sorted(Path("/dev").glob("nvidia[0-9]*"))]
