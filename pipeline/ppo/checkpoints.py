"""Checkpoints that a stopped run resumes from: the whole state that the next iteration depends on.

Answers, permutations and prompt orders are drawn from seeds that follow from the iteration's number. So the state is
weights, optimizer, KL coefficient, cursor and the figures so far, and nothing else.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.files import sync, write_atomically
from pipeline.modeling import processes
from pipeline.modeling.checkpoints import COMPLETE, last_complete_checkpoint
from pipeline.modeling.roles import Roles
from pipeline.ppo.health import Health
from pipeline.store.artifacts import CHECKPOINTS

WEIGHTS, OPTIMIZER, STATE = "trained.safetensors", "optimizer.pt", "state.json"


@dataclass
class State:
    """The state of a run, except weights and optimizer."""

    coefficient: float  # of the KL penalty
    iteration: int = 0  # finished iterations
    cursor: int = 0  # prompts used so far
    tokens: int = 0  # tokens through the policy: generated ones, and those of every learning epoch
    health: Health = field(default_factory=Health)
    history: list[dict[str, float]] = field(default_factory=list)


class Checkpoints:
    """The checkpoints of one run. Keeps the newest, and all back to the one with its last good policy."""

    def __init__(self, output_dir: Path, roles: Roles, optimizer: torch.optim.Optimizer) -> None:
        self.folder, self.roles, self.optimizer = output_dir / CHECKPOINTS, roles, optimizer

    def save(self, state: State) -> None:
        """Write a checkpoint in the main process; the file that marks it as complete is written last."""
        place = self._place(state.iteration)
        if processes.rank() > 0 or (place / COMPLETE).is_file():
            return
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        save_file(self.roles.trained_weights(), place / WEIGHTS)
        torch.save(self.optimizer.state_dict(), place / OPTIMIZER)
        for name in (WEIGHTS, OPTIMIZER):
            sync(place / name)
        write_atomically(place / STATE, json.dumps(asdict(state)))
        (place / COMPLETE).touch()
        self._prune(state.health.good)

    def load_last(self) -> State | None:
        """Load the newest complete checkpoint into roles and optimizer and return its state; None if there is none."""
        place = processes.on_main(lambda: last_complete_checkpoint(self.folder))
        if place is None:
            return None
        self.roles.restore(load_file(place / WEIGHTS))
        self.optimizer.load_state_dict(torch.load(place / OPTIMIZER, weights_only=True))
        return _state(json.loads((place / STATE).read_text()))

    def load_good(self, good: int) -> int:
        """Restore the newest policy up to iteration `good`; return its iteration."""
        kept = processes.on_main(lambda: max(number for number in self._numbers() if number <= good))
        self.roles.restore(load_file(self._place(kept) / WEIGHTS))
        return kept

    def _prune(self, good: int) -> None:
        numbers = self._numbers()
        oldest = max((number for number in numbers if number <= good), default=0)
        for number in numbers:
            if number < oldest:
                shutil.rmtree(self._place(number))

    def _numbers(self) -> list[int]:
        return [int(path.parent.name.rpartition("-")[2]) for path in self.folder.glob(f"checkpoint-*/{COMPLETE}")]

    def _place(self, iteration: int) -> Path:
        return self.folder / f"checkpoint-{iteration}"


def _state(saved: dict[str, Any]) -> State:
    return State(**{**saved, "health": Health(**saved["health"])})
