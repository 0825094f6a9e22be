"""What is done with rows among each other: which were said before, which are too close to what is tested on, which
answer one prompt differently, and which have to stay together. Over columns of numbers, whatever lies behind them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.deduplication.minhash import BANDS, Indexes, UInt64s, connected, equal_pairs, near_pairs, similar_in
from pipeline.data.ledger import Step

Mask = NDArray[np.bool_]
Column = Callable[[str], NDArray[Any]]
"""The column of that name, as `refining.fingerprints` makes them; each call may map it from disk anew."""

KEPT, DUPLICATE, NEAR, OVERLAP, CONFLICT = range(5)
STEP_OF: dict[int, Step] = {
    DUPLICATE: "duplicate",
    NEAR: "near-duplicate",
    OVERLAP: "overlap",
    CONFLICT: "conflict",
}
MANY = 100  # rows that share an identifier: then it names no conversation


class Judged(NamedTuple):
    """What is said of each row."""

    fate: NDArray[np.int8]  # KEPT, or why it goes
    like: Indexes  # the row that is kept instead of it, or itself
    group: Indexes  # rows of one group are never on two sides of a split
    contested: Mask  # among the kept: whose prompt has another answer in another row


def judge(column: Column, tested: Mask, *, threshold: float, drop_near: bool, conflicts: str) -> Judged:
    """Judge all rows: `tested` [rows] marks those that are tested on, which come first and go for none of the others.

    Rows that say the same are one row: the first. So are near-duplicates, of a similarity of `threshold` or more, if
    `drop_near`. What else is near or equal to a tested row, in whole or in its prompt, must not be learned. `conflicts`
    says what becomes of other answers to one prompt: `keep` them, keep the `first`, or `drop` them all.

    Rows hang together if they are near-duplicates, have equal or nearly equal prompts, or are of one conversation.
    """
    count, content, prompt = len(tested), column("content")[:], column("prompt")[:]
    texts = connected(count, equal_pairs(content), _near(column, "text", threshold))
    group = connected(
        count,
        equal_pairs(texts),
        equal_pairs(prompt),
        _near(column, "prompt", threshold),
        _conversations(column("conversation")[:]),
    )
    rows = np.arange(count)
    said, nearly = _first(content), _first(texts)
    fate = np.full(count, KEPT, dtype=np.int8)
    if drop_near:
        fate[nearly != rows] = NEAR
    fate[said != rows] = DUPLICATE
    fate[~tested & np.isin(group, group[tested])] = OVERLAP
    contested = _contested(prompt, fate == KEPT)
    if conflicts != "keep":
        rest = contested & ~tested
        if conflicts == "first":
            rest[np.flatnonzero(rest)[np.unique(prompt[rest], return_index=True)[1]]] = False
        fate[rest] = CONFLICT
        contested &= fate == KEPT
    like = np.where(said != rows, said, np.where(fate == NEAR, nearly, rows))
    return Judged(fate, like, group, contested)


def copies(content: UInt64s, weights: NDArray[np.float64], seed: int) -> Indexes:
    """How often each row is drawn: its source's weight, rounded down or up by the row's own chance [rows].

    The chance depends on the row's content and the seed: the same rows are drawn from a file in any order.
    """
    mixed = (content ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    chance = (mixed * np.uint64(0xD6E8FEB86659FD93)) / 2.0**64
    whole = np.floor(weights)
    return (whole + (chance < weights - whole)).astype(np.int64)


def names_of(group: Indexes, content: UInt64s) -> tuple[Indexes, list[int]]:
    """The groups numbered from 0 [rows], and a name for each that does not depend on the rows' order: the least hash
    of what its rows say.
    """
    _, numbered = np.unique(group, return_inverse=True)
    names = np.full(int(numbered.max(initial=-1)) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(names, numbered, content)
    return numbered, names.tolist()


def _near(column: Column, what: str, threshold: float) -> Indexes:
    bands = (column(f"{what}_bands")[:, band].copy() for band in range(BANDS))  # mapped anew each time: memory is freed
    return near_pairs(bands, similar_in(column(f"{what}_signature"), threshold))


def _conversations(names: UInt64s) -> Indexes:
    """Pairs of rows with one conversation's name; 0 is none, and a name that very many share is none either."""
    values, counts = np.unique(names, return_counts=True)
    named = np.flatnonzero((names != 0) & ~np.isin(names, values[counts > MANY]))
    return named[equal_pairs(names[named])]


def _first(values: NDArray[Any]) -> Indexes:
    """For each row the first row with its value [rows]."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _contested(prompt: UInt64s, kept: Mask) -> Mask:
    values, counts = np.unique(prompt[kept], return_counts=True)
    return kept & np.isin(prompt, values[counts > 1])
