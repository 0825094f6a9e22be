"""Groups rows of similar length into batches, to reduce padding."""

from collections.abc import Iterable, Sequence


def batches_by_length(lengths: Sequence[int], size: int, *, tokens: int | None = None) -> list[list[int]]:
    """Return batches of at most `size` indices into `lengths` [rows], shortest rows first.

    `tokens` bounds the tokens of a batch, padding included; a longer row is a batch of its own. Rows of equal length
    keep their order.
    """
    batches: list[list[int]] = []
    for row in _by_length(lengths, range(len(lengths))):
        count = len(batches[-1]) + 1 if batches else 0
        if not count or count > size or (tokens is not None and count * lengths[row] > tokens):
            batches.append([])
        batches[-1].append(row)
    return batches


def cheapest_batches(
    lengths: Sequence[int], size: int, pass_cost: int, rows: Iterable[int] | None = None
) -> list[list[int]]:
    """Return batches like `batches_by_length`, of at most `size` rows, divided so that they cost least.

    A batch costs its tokens, padding included, and `pass_cost` tokens more: short rows have a batch of their own where
    that saves more padding than another pass costs. The division is the best of all, found row by row. `rows` are the
    indices to use, all by default.
    """
    order = _by_length(lengths, range(len(lengths)) if rows is None else rows)
    costs, starts = [0], [0]  # of the best batches for the first rows, and where the last of them starts
    for end in range(1, len(order) + 1):
        longest, first = lengths[order[end - 1]], max(0, end - size)
        cost, start = min((costs[i] + pass_cost + (end - i) * longest, i) for i in range(first, end))
        costs.append(cost)
        starts.append(start)
    found, end = [], len(order)
    while end:
        found.append(order[starts[end] : end])
        end = starts[end]
    return found[::-1]


def _by_length(lengths: Sequence[int], rows: Iterable[int]) -> list[int]:
    return sorted(rows, key=lambda i: (lengths[i], i))
