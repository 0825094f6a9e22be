"""Measures the peak memory of a stage."""

import contextlib
import resource
import sys
from pathlib import Path

import torch

CLEAR_REFS = Path("/proc/self/clear_refs")  # Linux: writing a 5 here resets the peak of resident memory
STATUS = Path("/proc/self/status")


def reset_peak_memory() -> None:
    """Reset the peak memory, if the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory since `reset_peak_memory` in MiB: torch's on a GPU, else the process's resident set.

    On systems that cannot reset the peak (macOS), it is the peak since the process started.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
