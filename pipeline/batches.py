"""Rows of similar length together, so that little of a batch is padding."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pipeline.progress import Advance

T = TypeVar("T")


def batches_by_length(lengths: Sequence[int], size: int, rows: Iterable[int] | None = None) -> list[list[int]]:
    """Places in `lengths` [rows] as batches of `size`, the shortest rows first; the last batch may be smaller.

    `rows` are those that are wanted, all by default. Rows of one length keep their order.
    """
    order = sorted(range(len(lengths)) if rows is None else rows, key=lambda i: (lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


def computed_by_length(
    compute: Callable[[list[int]], Iterable[T]],
    lengths: Sequence[int],
    size: int,
    advance: Advance = lambda done: None,
) -> list[T]:
    """`compute(places)` for each of `batches_by_length`: its values, one for each row, in the order of `lengths`."""
    found: dict[int, T] = {}
    for places in batches_by_length(lengths, size):
        found |= zip(places, compute(places), strict=True)
        advance(len(places))
    return [found[i] for i in range(len(lengths))]
