"""What this machine has to give: idle cores, GPUs, and how a request uses them."""

import os
from functools import cache
from pathlib import Path

import psutil

from pipeline.config.schema import PipelineConfig

SMALL = 50_000_000  # bytes of weights
LOOK = 0.3  # seconds of looking at how busy the cores are


def is_small(config: PipelineConfig) -> bool:
    """Whether the model is about as small as the embedded one: threads then only wait for each other."""
    folder = Path(config.model.path)
    return not config.model.path or 0 < sum(f.stat().st_size for f in folder.glob("*.safetensors")) < SMALL


def threads(config: PipelineConfig) -> int:
    """Torch threads of a process: one for a small model, else the cores that are idle as this command starts."""
    return config.threads or (1 if is_small(config) else idle_cores())


def parallel(config: PipelineConfig) -> int:
    """How many stages run at the same time: one per GPU; on a CPU one per idle core, if the model is small."""
    if config.launch.parallel is not None:
        return config.launch.parallel
    if config.launch.device in ("auto", "cuda") and gpus():
        return len(gpus())
    return idle_cores() if is_small(config) and config.launch.device != "mps" else 1


@cache
def idle_cores() -> int:
    """Cores of this process that nothing else uses, at least one; looked at once in a command.

    On two busy cores a second thread made 21 s of work take 3 min 05 s.
    """
    mine = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    busy = psutil.cpu_percent(LOOK, percpu=True)
    idle = sum(1 - busy[core] / 100 for core in (mine or range(len(busy))) if core < len(busy))
    return max(1, round(float(idle)))


def gpus() -> list[str]:
    """NVIDIA GPUs that a process may see, as CUDA_VISIBLE_DEVICES names them; without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [file.name.removeprefix("nvidia") for file in sorted(Path("/dev").glob("nvidia[0-9]*"))]
