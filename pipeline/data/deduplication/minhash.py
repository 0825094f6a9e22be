"""Near-duplicates among millions of texts: MinHash signatures (rensa) and locality-sensitive hashing.

A text is the set of its word n-grams of length `RUN`. Two texts are near-duplicates if the Jaccard similarity of their
sets reaches a threshold. The share of equal places in their signatures estimates it (Broder 1997). Only texts that
agree in one of `BANDS` bands of their signatures are compared: at similarity 0.8 that finds 95 of 100 pairs, at 0.86
all but three in a thousand (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).

An instruction above thousands of different inputs makes them similar without making them duplicates. So n-grams that
very many texts share are found in a sample first, and a text has two signatures: of all its n-grams, and of all but the
shared ones. Near-duplicates are similar in both. Each hash keeps 16 bits (Li and König, b-bit minwise hashing, 2010).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.data.words import words_in

RUN = 3  # words per n-gram
PERMUTATIONS = 128
BANDS = 16
SEED = 1
COMMON = 0.02  # an n-gram in a larger share of the sample's texts is boilerplate
MIN_COMMON_TEXTS = 50  # an n-gram in this many texts or fewer is never boilerplate

Signatures = NDArray[np.uint16]
"""[texts, 2, PERMUTATIONS]: of all n-grams, and of all but boilerplate."""
UInt64s = NDArray[np.uint64]
Indexes = NDArray[np.int64]
Similar = Callable[[Indexes, Indexes], NDArray[np.bool_]]
"""Which pairs (two arrays of row indexes [pairs]) are near-duplicates [pairs]."""

_NONE: UInt64s = np.empty(0, dtype=np.uint64)


def signatures(texts: Sequence[str], boilerplate: UInt64s = _NONE) -> Signatures:
    """The two signatures of each text; the second leaves out the n-grams in `boilerplate`.

    A text of boilerplate alone keeps all its n-grams.
    """
    hashes, starts = _hashed_runs(texts)
    whole = _signed_hashes(hashes, starts)
    own = _signed_hashes(*_without(hashes, starts, boilerplate)) if len(boilerplate) else whole
    return np.stack([whole, own], axis=1)


def boilerplate_of(texts: Sequence[str]) -> UInt64s:
    """Hashes of the n-grams that more than `COMMON` of these texts share, ascending."""
    hashes, starts = _hashed_runs(texts)
    counts = Counter(one for a, b in pairwise(starts) for one in set(hashes[a:b].tolist()))
    limit = max(MIN_COMMON_TEXTS, COMMON * len(texts))
    return np.array(sorted(one for one, count in counts.items() if count > limit), dtype=np.uint64)


def bands_of(signed: Signatures) -> UInt64s:
    """The bands of both signatures as hashes [texts, BANDS]. Two texts are compared if one of their bands is equal."""
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
    """Pairs of near-duplicates [pairs, 2], smaller row first: enough pairs to connect each cluster.

    `bands` gives one band of all texts at a time. Each text that agrees in a band is compared with the first such text
    and with the previous one, since all pairs of a large group would be too many.
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
    """The cluster of each of `count` rows [count]: rows linked by pairs, directly or through others."""
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
    """(hashes of all n-grams, text by text; where each text starts, and where the last one ends [texts + 1])."""
    from rensa import RMinHash

    hashed = RMinHash.hash_token_sets([_runs(text) for text in texts])
    starts = np.cumsum([0, *map(len, hashed)]).astype(np.uint64)
    flat = [np.array(one, dtype=np.uint64) for one in hashed]
    return np.concatenate([_NONE, *flat]), starts


def _signed_hashes(hashes: UInt64s, starts: UInt64s) -> NDArray[np.uint16]:
    from rensa import RMinHash

    rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, PERMUTATIONS, SEED).to_rows()
    return np.array(rows, dtype=np.uint32).reshape(len(starts) - 1, PERMUTATIONS).astype(np.uint16)


def _runs(text: str) -> list[str]:
    """The word n-grams. A text of fewer words is one n-gram; a text without words is its own n-gram."""
    words = words_in(text)
    if len(words) <= RUN:
        return [" ".join(words) or text]
    return list(map(" ".join, zip(*(words[place:] for place in range(RUN)), strict=False)))


def _without(hashes: UInt64s, starts: UInt64s, boilerplate: UInt64s) -> tuple[UInt64s, UInt64s]:
    """Hashes and starts without boilerplate; a text of boilerplate alone keeps all its hashes."""
    begins, ends = starts[:-1].astype(np.int64), starts[1:].astype(np.int64)
    lengths = ends - begins
    keep = ~np.isin(hashes, boilerplate)
    counts = np.add.reduceat(keep, begins, dtype=np.int64) if len(begins) else begins
    keep |= np.repeat(counts == 0, lengths)
    counts = np.where(counts == 0, lengths, counts)
    return hashes[keep], np.cumsum(np.r_[0, counts]).astype(np.uint64)
