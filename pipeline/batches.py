"""Groups rows of similar length into batches, to reduce padding."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pipeline.progress import Advance

T = TypeVar("T")


def batches_by_length(lengths: Sequence[int], size: int, rows: Iterable[int] | None = None) -> list[list[int]]:
    """Return batches of `size` indices into `lengths` [rows], shortest rows first; the last batch may be smaller.

    `rows` are the indices to use, all by default. Rows of equal length keep their order.
    """
    order = sorted(range(len(lengths)) if rows is None else rows, key=lambda i: (lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


def computed_by_length(
    compute: Callable[[list[int]], Iterable[T]],
    lengths: Sequence[int],
    size: int,
    advance: Advance = lambda done: None,
) -> list[T]:
    """Call `compute(indices)` for each batch of `batches_by_length`. Returns one value per row, in the rows' order."""
    found: dict[int, T] = {}
    for places in batches_by_length(lengths, size):
        found |= zip(places, compute(places), strict=True)
        advance(len(places))
    return [found[i] for i in range(len(lengths))]
