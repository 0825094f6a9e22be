"""Finds this machine's idle cores and GPUs, and the number of threads and stages for a request."""

import os
import subprocess
from functools import cache
from pathlib import Path

import psutil

from pipeline.config.schema import PipelineConfig
from pipeline.memory.estimates import Device

SMALL = 50_000_000  # bytes of weights; larger models are not small
MOST_FOR_SMALL = 2  # threads of a small model; more were not measured
LOOK = 0.3  # seconds over which the load of the cores is measured
# How often a waiting thread looks for work before it sleeps. By default it looks for milliseconds: where other programs
# need the cores, two threads then take two to three times as long as one (benchmarks/threads.py).
SPINS = 1000


def is_small(config: PipelineConfig) -> bool:
    """Whether the model is about as small as the embedded one."""
    folder = Path(config.model.path)
    return not config.model.path or 0 < sum(f.stat().st_size for f in folder.glob("*.safetensors")) < SMALL


def threads(config: PipelineConfig) -> int:
    """Return the torch threads per process: those asked for, else one for each core; two at most for a small model.

    The cores are those of OMP_NUM_THREADS, else those that were idle when the command started.
    """
    given = threads_in_environment()
    if config.threads:
        return config.threads
    cores = given or idle_cores()
    return min(cores, MOST_FOR_SMALL) if is_small(config) else cores


@cache
def threads_in_environment() -> int | None:
    """Return the number that OMP_NUM_THREADS was given, None if none. Read once: `limit_threads` sets the variable."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return int(number) or None if number.isdecimal() else None


def limit_threads(config: PipelineConfig) -> None:
    """Set in the environment how many threads torch has and how they wait: it is read when torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(config)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def parallel(config: PipelineConfig) -> int:
    """Return how many stages run at once: one per GPU; on a CPU, one per idle core if the model is small, else one.

    One, too, if several processes make it together.
    """
    if config.launch.processes > 1:
        return 1
    if config.launch.parallel is not None:
        return config.launch.parallel
    if config.launch.device in ("auto", "cuda") and gpus():
        return len(gpus())
    return idle_cores() if is_small(config) and config.launch.device != "mps" else 1


@cache
def idle_cores() -> int:
    """Return the number of idle cores that this process may use, at least one. Measured once per command."""
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


def device_of(config: PipelineConfig) -> Device:
    """Return the device that torch will use, without importing torch."""
    if config.launch.device in ("auto", "cuda"):
        return "cuda" if gpus() or config.launch.device == "cuda" else "cpu"
    return "mps" if config.launch.device == "mps" else "cpu"


@cache
def free_memory(device: Device) -> float | None:
    """Return the free memory in bytes: of the largest visible GPU, or of this machine; None if it cannot be asked.

    Measured once per command.
    """
    if device == "cuda":
        return _free_on_gpus()
    limits = [_cgroup_limit()] if _cgroup_limit() else []
    return float(min([psutil.virtual_memory().available, *limits]))


def _free_on_gpus() -> float | None:
    command = ["nvidia-smi", "--query-gpu=index,memory.free", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split(",") for line in asked.stdout.splitlines() if line.count(",") == 1]
    free = {index.strip(): float(size) * 2**20 for index, size in rows if size.strip().isdigit()}
    seen = [free[name] for name in gpus() if name in free]
    return max(seen or free.values(), default=None)


def _cgroup_limit() -> int | None:
    """Return what a container's limit leaves in bytes; None without a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        most = (folder / "memory.max").read_text().strip()
        return int(most) - int((folder / "memory.current").read_text()) if most.isdigit() else None
    except (OSError, ValueError):
        return None
