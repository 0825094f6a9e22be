"""The processes that run one stage together: what each of them computes, and how their results are joined.

A process group exists exactly while several processes run a stage. Without one, a process is alone: the functions
return at once. With one, every process calls them with the same arguments in the same order; a function that only one
process called would wait for the others without end.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.progress import Advance

T = TypeVar("T")

PATIENCE = timedelta(hours=6)  # for the others; the engine ends all processes when one ends, so no fault takes as long


@contextmanager
def joined(store: Any, rank: int, count: int, *, on_gpu: bool) -> Iterator[None]:
    """Join the group of `count` processes that meet in a store of torch.distributed, for the length of the context."""
    if is_together():  # a step before this one failed
        dist.destroy_process_group()
    if on_gpu:
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: the others would report a lost connection, not its cause


def file_store(path: str, count: int) -> Any:
    """Return the store in a file that only this group uses: a meeting place on one machine, which needs no port."""
    return dist.FileStore(path, count)  # type: ignore[attr-defined]


def launcher_store() -> Any:
    """Return the store of the launcher that started these processes. Waits until all of them have come."""
    store, _, _ = next(iter(dist.rendezvous("env://")))  # type: ignore[attr-defined]
    return store


def part_of_store(store: Any, name: str) -> Any:
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def local_rank() -> int:
    """Return the number of this process among those on this machine, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_together() -> bool:
    """Return whether several processes run this stage."""
    return dist.is_initialized()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if is_together() else 0


def count() -> int:
    """Return the number of processes that run this stage."""
    return dist.get_world_size() if is_together() else 1


def gathered(value: T) -> list[T]:
    """Return the values of all processes, by rank. Any picklable value."""
    values: list[Any] = [None] * count()
    if not is_together():
        return [value]
    dist.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Return when every process has come here."""
    gathered(None)


def on_main(compute: Callable[[], T]) -> T:
    """Return what `compute` returns in the main process, the only one that calls it. Its errors are raised in all."""
    if not is_together():
        return compute()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = compute()
        except PipelineError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]  # type: ignore[no-any-return]


@torch.no_grad()
def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor with its sum over all processes."""
    for tensor in tensors if is_together() else ():
        dist.all_reduce(tensor)


def share_of(size: int, rows: int) -> int:
    """Return a batch size, at most `size`, with which `rows` rows make at least one batch for each process."""
    return max(1, min(size, -(-rows // count())))


def in_turns(compute: Callable[[], T]) -> T:
    """Return what `compute()` returns; the processes of a machine call it one after the other.

    An error of one is raised in all.
    """
    outcomes: list[T] = []
    for turn in range(max(gathered(int(os.environ.get("LOCAL_WORLD_SIZE", count()))))):
        failed: PipelineError | None = None
        if turn == local_rank():
            try:
                outcomes.append(compute())
            except PipelineError as error:
                failed = error
        for fault in filter(None, gathered(failed)):
            raise fault
    return outcomes[0]


def computed(
    compute: Callable[[list[int]], Iterable[T]],
    batches: Sequence[list[int]],
    advance: Advance = lambda done: None,
    *,
    together: bool = False,
) -> list[T]:
    """Call `compute(indices)` for each batch of row indices. Returns one value per row, in the rows' order.

    `together`: a computation needs all processes, so one that has no batch in a round computes the last one, too.
    """
    found: dict[int, T] = {}
    for new in computed_in_rounds(compute, batches, together=together):
        found |= new
        advance(len(new))
    return [found[i] for i in range(len(found))]


def computed_in_rounds(
    compute: Callable[[list[int]], Iterable[T]], batches: Sequence[list[int]], *, together: bool = False
) -> Iterator[dict[int, T]]:
    """Yield the values of one round after the other, by index; in a round, each process computes one batch.

    The batches, and so the values, are those of a single process; every process gets all values.
    """
    for start in range(0, len(batches), count()):
        own: dict[int, T] = {}
        for places in batches[start + rank() : start + rank() + 1]:
            own |= zip(places, compute(places), strict=True)
        if together and not own:
            list(compute(batches[-1]))
        yield {place: value for part in gathered(own) for place, value in part.items()}
