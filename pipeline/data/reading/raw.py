"""What reading gives: a row as its user wrote it, or what stands where a row should be."""

from dataclasses import dataclass
from typing import Any

from pipeline.data.faults import BadRow, Place


@dataclass(frozen=True)
class RawRow:
    """An object as the user wrote it."""

    place: Place
    fields: dict[str, Any]


@dataclass(frozen=True)
class BrokenRow:
    """Something that is not an object, where a row should be."""

    place: Place
    text: str
    fault: BadRow
