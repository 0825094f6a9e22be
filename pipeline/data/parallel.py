"""Maps a pure function over many pieces of work on several processes, in order."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

MIN_PIECES = 8  # fewer are done sooner than processes start

In = TypeVar("In")
Out = TypeVar("Out")


def map_in_order(function: Callable[[In], Out], pieces: Iterable[In], processes: int) -> Iterator[Out]:
    """`map` with results in order; without other processes if there are few pieces or `processes` is 1.

    At most two pieces per process are in work, so that memory stays flat. `function`, its argument and its result must
    be picklable. Its exceptions are raised here.
    """
    waiting = iter(pieces)
    first = list(islice(waiting, MIN_PIECES))
    if processes == 1 or len(first) < MIN_PIECES:
        yield from map(function, chain(first, waiting))
        return
    # Spawned, not forked: this process may hold torch and its threads.
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        running: deque[Future[Out]] = deque()
        for piece in chain(first, waiting):
            running.append(pool.submit(function, piece))
            if len(running) == 2 * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def end_with_parent() -> None:
    """Called in a worker: ignores interrupts, which the parent handles, and ends with the parent, even a killed one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
