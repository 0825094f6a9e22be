"""Divides an iteration's rows into batches, moves them to the device and times them; for scoring and for learning."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pipeline.config.nodes.learning import PpoConfig
from pipeline.modeling import processes
from pipeline.modeling.passes import Batch, batch_of, pass_cost
from pipeline.modeling.roles import Roles
from pipeline.ppo.rollouts import batches
from pipeline.stage import Runtime


@dataclass(frozen=True)
class Batching:
    """Settings of every pass over answers, derived from the configuration and the machine."""

    seed: int
    device: torch.device
    pad_id: int
    rollouts: int  # answers per iteration
    batch_size: int  # answers per optimizer step
    micro_batch_size: int  # answers per pass at most
    pass_cost: int  # of a further pass, in tokens
    seconds: dict[str, float] = field(default_factory=dict)  # time of this iteration, by phase

    @classmethod
    def of(cls, config: PpoConfig, roles: Roles, runtime: Runtime) -> "Batching":
        launch, in_training = runtime.launch, roles.in_training
        share = config.batch_size // processes.count()
        return cls(
            seed=config.seed,
            device=in_training.device,
            pad_id=in_training.tokenizer.pad_token_id,
            rollouts=config.rollouts,
            batch_size=config.batch_size,
            micro_batch_size=min(launch.micro_batch_size or share, share),
            pass_cost=pass_cost(roles.policy.decoder),
        )

    def shuffled_batches(self, lengths: Sequence[int], iteration: int, epoch: int) -> list[list[list[int]]]:
        """Return a new permutation of the rows as batches of micro batches of row indices."""
        key = f"{self.seed} {iteration} {epoch}"
        return batches(self.rollouts, self.batch_size, lengths, self.micro_batch_size, key, pass_cost=self.pass_cost)

    def own_part(self, batch: Sequence[list[int]]) -> Sequence[list[int]]:
        """Return this process's micro batches of a batch."""
        return batch[processes.rank() :: processes.count()]

    def collate(self, prompts: Sequence[list[int]], answers: Sequence[list[int]], rows: Sequence[int]) -> Batch:
        return batch_of([prompts[i] for i in rows], [answers[i] for i in rows], self.pad_id, self.device)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of the `with` block to a phase of this iteration."""
        began = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
