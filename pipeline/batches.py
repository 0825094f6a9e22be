"""Groups rows of similar length into batches, to reduce padding."""

from collections.abc import Iterable, Sequence


def batches_by_length(lengths: Sequence[int], size: int, rows: Iterable[int] | None = None) -> list[list[int]]:
    """Return batches of `size` indices into `lengths` [rows], shortest rows first; the last batch may be smaller.

    `rows` are the indices to use, all by default. Rows of equal length keep their order.
    """
    order = sorted(range(len(lengths)) if rows is None else rows, key=lambda i: (lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]
