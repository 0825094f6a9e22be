"""The results of reading: rows as users wrote them, and broken rows."""

from dataclasses import dataclass
from typing import Any

from pipeline.data.faults import BadRow, Place


@dataclass(frozen=True, slots=True)
class RawRow:
    """An object as the user wrote it."""

    place: Place
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A text that should be a row but cannot be parsed as an object."""

    place: Place
    text: str
    fault: BadRow
