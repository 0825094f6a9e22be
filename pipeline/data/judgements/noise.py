"""Label noise: checks that of preference rows before a loss uses it, and adds some as an experiment."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.rows import Preference
from pipeline.errors import RequestError


def swapped_count(rows: Sequence[Preference], share: float) -> int:
    """Return how many rows this share is."""
    return round(share * len(rows))


def with_swapped_sides(rows: Sequence[Preference], share: float, seed: int) -> list[Preference]:
    """Return the rows with this share of them, drawn by `seed`, made wrong: their sides swapped (arXiv 2310.02743)."""
    swapped = set(random.Random(f"noise {seed}").sample(range(len(rows)), swapped_count(rows, share)))
    return [
        Preference(**{**row, "chosen": row["rejected"], "rejected": row["chosen"]}) if i in swapped else row
        for i, row in enumerate(rows)
    ]


def check_label_noise(rows: Iterable[Mapping[str, Any]], file: Path, key: str, say: Callable[[str], None]) -> None:
    """Raise `RequestError` unless every row of `file` has a `label_noise` of at least 0 and below 0.5.

    `key` is the option that needs it. At 0.5 the order is unknown, and above it the other answer is the better one.
    Remarks on equal values, as rows of one vote each have: then the option tells no pair from another.
    """
    values: set[float] = set()
    for line, row in enumerate(rows, start=1):
        noise = row.get("label_noise")
        if noise is None:
            raise RequestError(
                f"{key}=true: {file}, line {line}, has no label_noise (the probability that the pair's order is "
                f"wrong). Pairs that come from votes have it: bring rankings (labeling.path), or leave {key} out."
            )
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < 0.5:
            raise RequestError(
                f"{key}=true: {file}, line {line}: label_noise is {noise!r}. It has to be a number of at least 0 and "
                "below 0.5."
            )
        values.add(noise)
    if len(values) == 1:
        say(f"{file.name}: label_noise is {values.pop():.2f} in every pair, so {key} treats all pairs alike")
