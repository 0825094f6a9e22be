"""The processes that make one step together, and whether a launcher started this one as one of several."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun and `accelerate launch`


@dataclass(frozen=True)
class Group:
    """The number of this process among those that make a step together, and how it joins them."""

    rank: int = 0  # 0 is the main process, which writes
    count: int = 1
    join: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Place:
    """The part of the machine that a worker has, and its number among the workers that make a step together."""

    threads: int  # of torch
    gpu: str | None = None  # its only GPU; None: all that there are
    rank: int = 0
    count: int = 1
    on_gpus: bool = False  # of several: each has a GPU

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that tell torch and accelerate about the place."""
        if self.count == 1:
            return {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu is not None else {}
        number, count = str(self.rank), str(self.count)
        return {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}


ALONE = Group()


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return all(name in os.environ for name in VARIABLES) and launched_count() > 1


def launched_rank() -> int:
    return int(os.environ["RANK"])


def launched_count() -> int:
    return int(os.environ["WORLD_SIZE"])
