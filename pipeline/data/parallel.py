"""A pure function over many pieces of work, on several processes, results in the order of the pieces."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

FEW = 8  # pieces that are done sooner than other processes start

In = TypeVar("In")
Out = TypeVar("Out")


def mapped(function: Callable[[In], Out], pieces: Iterable[In], processes: int) -> Iterator[Out]:
    """`map`, in order; in this process where there are few pieces, or one process.

    No more pieces are taken than twice the processes are busy with, so that memory stays flat. `function` and what it
    takes and gives have to be picklable. What it raises is raised here.
    """
    waiting = iter(pieces)
    first = list(islice(waiting, FEW))
    if processes == 1 or len(first) < FEW:
        yield from map(function, chain(first, waiting))
        return
    # Not forked: this process may hold torch and its threads.
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        running: deque[Future[Out]] = deque()
        for piece in chain(first, waiting):
            running.append(pool.submit(function, piece))
            if len(running) == 2 * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def end_with_parent() -> None:
    """In a worker: an interrupt is for the parent to answer; with the parent, killed or not, the worker ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
