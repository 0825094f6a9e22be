"""Splits rows into parts. All rows of one group (one prompt) are in one part, independent of row order."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.data.rows import Demonstration, MarkedAnswer, Preference, Prompt, Ranking, as_messages, opening, prompt_id
from pipeline.errors import RequestError

Splittable = Demonstration | Prompt | Preference | Ranking | MarkedAnswer
RowT = TypeVar("RowT", bound=Splittable)
Indexes = NDArray[np.int64]


def split_key(row: Splittable) -> str:
    """The key that keeps rows together: the prompt.

    A demonstration's prompt is the turns before its first answer: all its answers are learned, so conversations with
    equal openings would leak that answer.
    """
    if "messages" in row:
        return prompt_id(opening(cast(Demonstration, row)["messages"]))
    return prompt_id(as_messages(row["prompt"]))


def split_by_prompt(rows: Sequence[RowT], fractions: Mapping[str, float], seed: int) -> dict[str, list[RowT]]:
    """Split -> rows, in the given order; the split of a prompt depends on its hash and the seed.

    A split with a fraction above 0 gets at least one prompt. Raises RequestError if the fractions are not
    shares of one whole, or if there are fewer prompts than such splits.
    """
    keys = [split_key(row) for row in rows]
    names = sorted(set(keys))
    place = {key: number for number, key in enumerate(names)}
    groups = np.array([place[key] for key in keys], dtype=np.int64)
    parts = split_groups(groups, names, fractions, seed)
    return {
        name: [row for row, part in zip(rows, parts, strict=True) if part == number]
        for number, name in enumerate(fractions)
    }


def split_groups(groups: Indexes, names: Sequence[object], fractions: Mapping[str, float], seed: int) -> Indexes:
    """The part of each row, an index into `fractions` [rows]; `groups` [rows] are indexes into `names`.

    The part of a group depends only on its name and the seed. A part with a fraction above 0 gets at least one
    group. Raises RequestError if the fractions are not shares of one whole, or if there are fewer groups than parts.
    """
    _check_fractions(fractions)
    wanted = [number for number, fraction in enumerate(fractions.values()) if fraction > 0]
    if len(names) < len(wanted):
        listed = ", ".join(name for name, fraction in fractions.items() if fraction > 0)
        raise RequestError(
            f"{len(names)} different prompts ({len(groups)} rows) cannot fill {len(wanted)} splits ({listed}). "
            "Bring more prompts, or set the fraction of some splits to 0."
        )
    order = sorted(range(len(names)), key=lambda group: hashlib.sha256(f"{seed}:{names[group]}".encode()).digest())
    sizes = np.bincount(groups, minlength=len(names))[order]
    part_of = np.empty(len(names), dtype=np.int64)
    part_of[order] = np.array(wanted, dtype=np.int64)[_cut(sizes, list(filter(None, fractions.values())))]
    return part_of[groups]


def _check_fractions(fractions: Mapping[str, float]) -> None:
    shares = list(fractions.values())
    if not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        given = ", ".join(f"{name}={share:g}" for name, share in fractions.items())
        raise RequestError(f"The fractions of the splits must be 0 or more and sum to 1, found {given}.")


def _cut(sizes: Indexes, shares: Sequence[float]) -> Indexes:
    """The part of each group: groups are laid end to end, cut at the shares, and assigned by their middle."""
    middles = np.cumsum(sizes) - sizes / 2
    ends = [sizes.sum() * sum(shares[: index + 1]) for index in range(len(shares) - 1)]
    parts = np.searchsorted(ends, middles, side="right").astype(np.int64)
    for part in range(len(shares)):  # an empty part gets the last group of the largest part
        if not (parts == part).any():
            most = np.bincount(parts, minlength=len(shares)).argmax()
            parts[np.flatnonzero(parts == most)[-1]] = part
    return parts
