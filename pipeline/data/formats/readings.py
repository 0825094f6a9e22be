"""Tells in one sentence how a file was read: the columns of prompt, answer and judgement, and the unused ones.

So a user who knows the file notices a misread or an ignored column at once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.formats.coded import Meanings
from pipeline.data.formats.columns import is_blank
from pipeline.data.formats.remarks import remarks_on
from pipeline.data.formats.watching import Role, WatchedRow

_WORDS: dict[Role, str] = {
    "turns": "turns from",
    "prompt": "prompt from",
    "answer": "answer from",
    "judgement": "judged by",
    "annotator": "annotators from",
}
_SHOWN = 6  # unused columns, or meanings of one column


@dataclass
class Reading:
    """The format of rows and the use of their columns.

    `columns` counts the rows in which a column has a value, `remarks` the rows that a remark applies to.
    """

    format: str
    roles: dict[str, Role] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    columns: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)

    def add(self, row: WatchedRow) -> None:
        """Add a row that was read."""
        self.read |= row.read
        self.roles |= row.roles
        self.columns.update(_filled(row))
        self.add_remarks(remarks_on(row))

    def add_remarks(self, remarks: Sequence[str]) -> None:
        """Count remarks on a row; most rows have none."""
        if remarks:
            self.remarks.update(remarks)

    def merge(self, other: "Reading") -> None:
        """Add the rows of another reading of the same format."""
        self.read |= other.read
        self.roles |= other.roles
        self.columns += other.columns
        self.remarks += other.remarks

    @property
    def unused(self) -> dict[str, int]:
        """Unread columns with values -> number of rows."""
        return {name: rows for name, rows in self.columns.items() if name not in self.read}

    def sentences(self, meanings: Meanings | None = None) -> list[str]:
        """Sentences on how the rows were read, on unused columns, and remarks; `meanings` are those of codes."""
        parts = [f"{words} {self._columns(role)}" for role, words in _WORDS.items() if self._columns(role)]
        coded = "; ".join(map(_meant, (meanings or {}).values())) if "judgement" in self.roles.values() else ""
        read = ": ".join([f"read as {self.format}", *([", ".join(parts)] if parts else [])])
        unused = [f"not used: {_listed(self.unused)}"] if self.unused else []
        return [
            f"{read} ({coded})" if coded else read,
            *unused,
            *(f"{count:,} times: {text}" for text, count in self.remarks.most_common()),
        ]

    def _columns(self, role: Role) -> str:
        return " + ".join(f"`{name}`" for name, its in self.roles.items() if its == role and name in self.columns)


def _filled(row: WatchedRow) -> list[str]:
    """The columns with a value, without marking them as read."""
    return [name for name, value in dict.items(row) if not (is_blank(value) or value in ([], {}))]


def _meant(meanings: Mapping[str, Any]) -> str:
    """The meanings of one column's codes in words; scores keep their values."""
    if all(meaning == _number(value) for value, meaning in meanings.items()):
        return "the higher the better"
    named = {1.0: "good", 0.0: "bad"}
    listed = [f"{value}: {named.get(meaning, meaning)}" for value, meaning in meanings.items() if meaning == meaning]
    return ", ".join(listed[:_SHOWN]) + (", …" if len(listed) > _SHOWN else "")


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _listed(found: Mapping[str, int]) -> str:
    names = [f"`{name}` ({rows:,} rows)" for name, rows in found.items()]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
