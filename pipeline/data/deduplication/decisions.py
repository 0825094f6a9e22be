"""Decides which rows are duplicates, overlap with test rows or conflict, and which must share a split.

Rows conflict if they answer one prompt differently. Works on columns of numbers only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.deduplication.minhash import BANDS, Indexes, UInt64s, connected, equal_pairs, near_pairs, similar_in
from pipeline.data.ledger import Step

Mask = NDArray[np.bool_]
Column = Callable[[str], NDArray[Any]]
"""Returns a column of `row_cleaning.fingerprints` by name; each call may map it from disk again."""

KEPT, DUPLICATE, NEAR, OVERLAP, CONFLICT = range(5)
STEP_OF: dict[int, Step] = {
    DUPLICATE: "duplicate",
    NEAR: "near-duplicate",
    OVERLAP: "overlap",
    CONFLICT: "conflict",
}
MAX_ROWS_PER_CONVERSATION = 100  # an identifier shared by more rows does not name a conversation


class Decisions(NamedTuple):
    """The decision for each row; all arrays are [rows]."""

    outcome: NDArray[np.int8]  # KEPT, or the reason for dropping the row
    kept_instead: Indexes  # the row that is kept in its place, or the row itself
    group: Indexes  # rows of one group stay on one side of every split
    contested: Mask  # kept rows whose prompt has another answer in another row


def decide(column: Column, tested: Mask, *, threshold: float, drop_near: bool, conflicts: str) -> Decisions:
    """Decide on all rows. `tested` [rows] marks test rows, which come first and are never dropped for a training row.

    Of rows with equal content the first is kept. With `drop_near` the same holds for near-duplicates, of a similarity
    of `threshold` or more. Training rows that are near or equal to a test row, in whole or in their prompt, are
    dropped. `conflicts` sets how different answers to one prompt are treated: `keep` all, keep the `first`, or `drop`
    all.

    Rows share a group if they are near-duplicates, have equal or nearly equal prompts, or belong to one conversation.
    """
    count, content, prompt = len(tested), column("content")[:], column("prompt")[:]
    texts = connected(count, equal_pairs(content), _near_pairs(column, "text", threshold))
    group = connected(
        count,
        equal_pairs(texts),
        equal_pairs(prompt),
        _near_pairs(column, "prompt", threshold),
        _conversation_pairs(column("conversation")[:]),
    )
    rows = np.arange(count)
    first_equal, first_near = _first_rows(content), _first_rows(texts)
    outcome = np.full(count, KEPT, dtype=np.int8)
    if drop_near:
        outcome[first_near != rows] = NEAR
    outcome[first_equal != rows] = DUPLICATE
    outcome[~tested & np.isin(group, group[tested])] = OVERLAP
    contested = _contested(prompt, outcome == KEPT)
    if conflicts != "keep":
        rest = contested & ~tested
        if conflicts == "first":
            rest[np.flatnonzero(rest)[np.unique(prompt[rest], return_index=True)[1]]] = False
        outcome[rest] = CONFLICT
        contested &= outcome == KEPT
    kept_instead = np.where(first_equal != rows, first_equal, np.where(outcome == NEAR, first_near, rows))
    return Decisions(outcome, kept_instead, group, contested)


def draw_counts(content: UInt64s, weights: NDArray[np.float64], seed: int) -> Indexes:
    """How often each row is drawn [rows]: its source's weight, rounded down or up at random.

    The rounding depends on the row's content and the seed, so the order of the file does not matter.
    """
    mixed = (content ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    chance = (mixed * np.uint64(0xD6E8FEB86659FD93)) / 2.0**64
    whole = np.floor(weights)
    return (whole + (chance < weights - whole)).astype(np.int64)


def stable_group_names(group: Indexes, content: UInt64s) -> tuple[Indexes, list[int]]:
    """Groups numbered from 0 [rows], and a name for each that does not depend on row order: the least content hash."""
    _, numbered = np.unique(group, return_inverse=True)
    names = np.full(int(numbered.max(initial=-1)) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(names, numbered, content)
    return numbered, names.tolist()


def _near_pairs(column: Column, what: str, threshold: float) -> Indexes:
    # Each band maps the column again, which frees the memory of the previous one.
    bands = (column(f"{what}_bands")[:, band].copy() for band in range(BANDS))
    return near_pairs(bands, similar_in(column(f"{what}_signature"), threshold))


def _conversation_pairs(names: UInt64s) -> Indexes:
    """Pairs of rows of one conversation. Name 0 and names shared by very many rows are ignored."""
    values, counts = np.unique(names, return_counts=True)
    named = np.flatnonzero((names != 0) & ~np.isin(names, values[counts > MAX_ROWS_PER_CONVERSATION]))
    return named[equal_pairs(names[named])]


def _first_rows(values: NDArray[Any]) -> Indexes:
    """For each row the first row with its value [rows]."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _contested(prompt: UInt64s, kept: Mask) -> Mask:
    values, counts = np.unique(prompt[kept], return_counts=True)
    return kept & np.isin(prompt, values[counts > 1])
