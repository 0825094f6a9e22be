"""How many people answer each task: a number, or a range such as 2..4. Pure functions."""

import re
from typing import NamedTuple


class Overlap(NamedTuple):
    """A task gets `least` answers, and up to `most` where annotators contradict each other; None: never more."""

    least: int
    most: int | None = None

    @property
    def highest(self) -> int:
        return self.most or self.least

    def __str__(self) -> str:
        return f"{self.least}" if self.most is None else f"{self.least}..{self.most}"


def overlap_of(value: int | str) -> Overlap:
    """The overlap that a setting stands for. Raises ValueError, with the reason, for any other value."""
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
    if found is None:
        raise ValueError("write a number, or a range such as 2..4")
    least, most = int(found[1]), int(found[2]) if found[2] else None
    if least < 1:
        raise ValueError("it has to be at least 1")
    if most is not None and (least < 2 or most <= least):
        raise ValueError("a range begins at 2 or more, since one person cannot disagree, and ends higher")
    return Overlap(least, most)
