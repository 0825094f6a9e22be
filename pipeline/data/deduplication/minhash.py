"""Near-duplicates among millions of texts: MinHash signatures (rensa) and locality-sensitive hashing.

A text is the set of its runs of `RUN` words. Two texts are near-duplicates if the Jaccard similarity of their sets,
which is the share of equal places in their signatures (Broder 1997), reaches a threshold. Only texts that agree in
one of `BANDS` bands of their signatures are compared: at similarity 0.8 that finds 95 of 100 pairs, at 0.86 all but
three in a thousand (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).

An instruction above thousands of different inputs makes them alike, and not the same. So runs of words that very many
texts share are found in a sample first, and a text has two signatures: of all its runs, and of those that are its own.
Near-duplicates are alike in both. Of each hash 16 bits are kept (Li and König, b-bit minwise hashing, 2010).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.data.words import words_in

RUN = 3  # words
PERMUTATIONS = 128
BANDS = 16
SEED = 1
COMMON = 0.02  # share of a sample's texts in which a run of words is boilerplate
FEW = 50  # texts of a sample that may share a run of words, whatever their share

Signatures = NDArray[np.uint16]
"""[texts, 2, PERMUTATIONS]: of all runs of words, and of a text's own."""
UInt64s = NDArray[np.uint64]
Indexes = NDArray[np.int64]
Similar = Callable[[Indexes, Indexes], NDArray[np.bool_]]
"""Which of these pairs (two arrays of rows) are near-duplicates."""

_NONE: UInt64s = np.empty(0, dtype=np.uint64)


def signatures(texts: Sequence[str], boilerplate: UInt64s = _NONE) -> Signatures:
    """The two signatures of each text; those of its own runs leave out what is in `boilerplate`.

    Of a text that is nothing but boilerplate, all is its own.
    """
    hashes, starts = _hashed_runs(texts)
    whole = _signed(hashes, starts)
    own = _signed(*_without(hashes, starts, boilerplate)) if len(boilerplate) else whole
    return np.stack([whole, own], axis=1)


def boilerplate_of(texts: Sequence[str]) -> UInt64s:
    """Hashes of the runs of words that more than `COMMON` of these texts share, ascending."""
    hashes, starts = _hashed_runs(texts)
    counts = Counter(one for a, b in pairwise(starts) for one in set(hashes[a:b].tolist()))
    limit = max(FEW, COMMON * len(texts))
    return np.array(sorted(one for one, count in counts.items() if count > limit), dtype=np.uint64)


def bands_of(signed: Signatures) -> UInt64s:
    """What has to be equal in one place, in both signatures, for two texts to be compared [texts, BANDS]."""
    parts = signed.reshape(len(signed), 2, BANDS, PERMUTATIONS // BANDS).astype(np.uint64)
    mixed = np.zeros((len(signed), BANDS), dtype=np.uint64)
    for which in range(2):
        for place in range(PERMUTATIONS // BANDS):
            mixed = (mixed ^ parts[:, which, :, place]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    return mixed


def similar_in(signed: Signatures, threshold: float) -> Similar:
    """A test of pairs by their signatures, which may lie on disk (`numpy.memmap`)."""

    def similar(first: Indexes, second: Indexes) -> NDArray[np.bool_]:
        found = np.empty(len(first), dtype=np.bool_)
        for start in range(0, len(first), 4096):
            part = slice(start, start + 4096)
            found[part] = (signed[first[part]] == signed[second[part]]).mean(axis=2).min(axis=1) >= threshold
        return found

    return similar


def near_pairs(bands: Iterable[UInt64s], similar: Similar) -> Indexes:
    """Pairs of near-duplicates [pairs, 2], enough to connect all that hang together, smaller row first.

    `bands` gives one band of all texts at a time. Of those that agree in a band each is compared with the first and
    with the one before it, since all pairs of a large group would be too many.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in bands:
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
        leader = np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
        place = np.flatnonzero(leader != np.arange(len(ordered)))
        later, first, before = order[place], order[leader[place]], order[place - 1]
        distinct = first != before
        close = np.c_[np.r_[first, before[distinct]], np.r_[later, later[distinct]]].astype(np.int64)
        found.append(close[similar(close[:, 0], close[:, 1])])
    pairs: Indexes = np.unique(np.concatenate(found), axis=0)
    return pairs


def connected(count: int, *pairs: Indexes) -> Indexes:
    """For each of `count` rows its cluster [count]: rows that are linked by pairs, at any remove."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])
    graph = coo_array((np.ones(len(links), dtype=np.int8), (links[:, 0], links[:, 1])), shape=(count, count))
    labels: Indexes = np.array(connected_components(graph, directed=False)[1], dtype=np.int64)
    return labels


def equal_pairs(values: UInt64s | Indexes) -> Indexes:
    """Pairs of neighbouring rows among those with one value [pairs, 2]."""
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    pairs: Indexes = np.c_[order[same], order[same + 1]].astype(np.int64)
    return pairs


def _hashed_runs(texts: Sequence[str]) -> tuple[UInt64s, UInt64s]:
    """The hashes of all runs of words, one text's after the other, and where each text's begin (and the last's end)."""
    from rensa import RMinHash

    hashed = RMinHash.hash_token_sets([_runs(text) for text in texts])
    starts = np.cumsum([0, *map(len, hashed)]).astype(np.uint64)
    flat = [np.array(one, dtype=np.uint64) for one in hashed]
    return np.concatenate([_NONE, *flat]), starts


def _signed(hashes: UInt64s, starts: UInt64s) -> NDArray[np.uint16]:
    from rensa import RMinHash

    rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, PERMUTATIONS, SEED).to_rows()
    return np.array(rows, dtype=np.uint32).reshape(len(starts) - 1, PERMUTATIONS).astype(np.uint16)


def _runs(text: str) -> list[str]:
    """The runs of words; a text of fewer words is one run, one without any is itself."""
    words = words_in(text)
    if len(words) <= RUN:
        return [" ".join(words) or text]
    return list(map(" ".join, zip(*(words[place:] for place in range(RUN)), strict=False)))


def _without(hashes: UInt64s, starts: UInt64s, boilerplate: UInt64s) -> tuple[UInt64s, UInt64s]:
    """The same without some of them; a text's every run stays where it has no other."""
    begins, ends = starts[:-1].astype(np.int64), starts[1:].astype(np.int64)
    lengths = ends - begins
    keep = ~np.isin(hashes, boilerplate)
    counts = np.add.reduceat(keep, begins, dtype=np.int64) if len(begins) else begins
    keep |= np.repeat(counts == 0, lengths)
    counts = np.where(counts == 0, lengths, counts)
    return hashes[keep], np.cumsum(np.r_[0, counts]).astype(np.uint64)
