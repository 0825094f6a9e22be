"""Shared by trainers: which checkpoint is complete, and when the next one is due."""

import shutil
import time
from pathlib import Path

COMPLETE = "whole"  # written last into a checkpoint: without it, the checkpoint is incomplete and not used


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None; remove incomplete ones."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).is_file():
            complete.append(path)
        else:
            shutil.rmtree(path)
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class SaveTimer:
    """Tells when the last checkpoint is too old: a killed run loses minutes, however few checkpoints it has.

    Checkpoints do not change a run's result, so the time between them is not part of any version.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._since = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._since >= self._seconds
