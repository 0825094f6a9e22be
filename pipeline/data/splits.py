"""Split rows by prompt: all rows of one prompt are on one side, whatever the order they come in."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from pipeline.data.duplicates import DataRow
from pipeline.data.rows import Demonstration, Preference, Prompt, Ranking, as_messages, prompt_id
from pipeline.errors import RequestError

RowT = TypeVar("RowT", bound=DataRow | Prompt)


def split_key(row: DataRow | Prompt) -> str:
    """What keeps rows together: the prompt.

    A demonstration's prompt is what comes before its first answer, since every answer of it is learned:
    conversations that open alike would leak that answer.
    """
    if "messages" in row:
        turns = cast(Demonstration, row)["messages"]
        return prompt_id(turns[: [turn["role"] for turn in turns].index("assistant")])
    return prompt_id(as_messages(cast(Prompt | Preference | Ranking, row)["prompt"]))


def split_by_prompt(rows: Sequence[RowT], fractions: Mapping[str, float], seed: int) -> dict[str, list[RowT]]:
    """The rows of each split, in the order given; which prompt goes where depends on its hash and the seed.

    A split with a fraction above 0 gets at least one prompt. Raises RequestError if the fractions are not
    shares of one whole, or if there are fewer prompts than such splits.
    """
    _check_fractions(fractions)
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(split_key(row), []).append(index)
    keys = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    if len(keys) < len(wanted):
        raise RequestError(
            f"{len(keys)} different prompts ({len(rows)} rows) cannot fill {len(wanted)} splits "
            f"({', '.join(wanted)}). Bring more prompts, or set the fraction of some splits to 0."
        )
    placed = _cut(keys, [len(groups[key]) for key in keys], [fractions[name] for name in wanted])
    parts = dict(zip(wanted, placed, strict=True))
    members = {name: sorted(index for key in parts.get(name, []) for index in groups[key]) for name in fractions}
    return {name: [rows[index] for index in indices] for name, indices in members.items()}


def _check_fractions(fractions: Mapping[str, float]) -> None:
    shares = list(fractions.values())
    if not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        given = ", ".join(f"{name}={share:g}" for name, share in fractions.items())
        raise RequestError(f"The fractions of the splits must be 0 or more and sum to 1, found {given}.")


def _cut(keys: Sequence[str], sizes: Sequence[int], shares: Sequence[float]) -> list[list[str]]:
    """Lay the groups end to end, cut where the shares end; a group goes where its middle lies."""
    total = sum(sizes)
    ends = [total * sum(shares[: index + 1]) for index in range(len(shares))]
    parts: list[list[str]] = [[] for _ in shares]
    start = 0
    for key, size in zip(keys, sizes, strict=True):
        middle = start + size / 2
        index = sum(middle >= end for end in ends[:-1])
        parts[index].append(key)
        start += size
    return _without_empty(parts)


def _without_empty(parts: list[list[str]]) -> list[list[str]]:
    """Give each empty part the last group of the part with most; groups are at least as many as parts."""
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())
    return parts
