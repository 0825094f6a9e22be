"""Groups rows of similar length into batches, to reduce padding."""

from collections.abc import Iterable, Sequence


def batches_by_length(
    lengths: Sequence[int], size: int, rows: Iterable[int] | None = None, *, tokens: int | None = None
) -> list[list[int]]:
    """Return batches of at most `size` indices into `lengths` [rows], shortest rows first.

    `tokens` bounds the tokens of a batch, padding included; a longer row is a batch of its own. `rows` are the indices
    to use, all by default. Rows of equal length keep their order.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)) if rows is None else rows, key=lambda i: (lengths[i], i)):
        count = len(batches[-1]) + 1 if batches else 0
        if not count or count > size or (tokens is not None and count * lengths[row] > tokens):
            batches.append([])
        batches[-1].append(row)
    return batches
