"""How much memory a stage took at most."""

import contextlib
import resource
import sys
from pathlib import Path

import torch

PEAK = Path("/proc/self/clear_refs")  # Linux: a 5 written here starts the peak of resident memory anew
STATUS = Path("/proc/self/status")


def start_peak() -> None:
    """Forget the most memory so far, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        PEAK.write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """The most memory since `start_peak`, in MiB: allocated by torch on a GPU, else the process's resident memory.

    Where the system cannot forget (macOS), it is that of the whole process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
