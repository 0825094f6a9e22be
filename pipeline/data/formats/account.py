"""How a file was read, in a sentence: which column was the prompt, the answer, the judgement, and which were not used.

A person who knows the file sees a misreading at once; so does a column that means something and is not understood.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.columns import is_blank
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.watching import Role, WatchedRow

_WORDS: dict[Role, str] = {
    "prompt": "prompt from",
    "answer": "answers from",
    "judgement": "judged by",
    "annotator": "annotators from",
}
_SHOWN = 6  # values, or columns that are not used


@dataclass
class Account:
    """A file, the format it was read in, and what became of its columns.

    `columns` counts the rows in which each column holds something, `values` those of each value of a column of
    judgements, `ignored` the keys within turns that are not understood.
    """

    file: Path
    format: str
    roles: dict[str, Role] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    columns: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def watch(self, rows: Iterable[Row], convert: Callable[[Row], object]) -> None:
        """Learn from a few rows which columns the format reads, and as what."""
        for row in rows:
            watched = WatchedRow(row)
            try:
                convert(watched)
            except LeftOut:
                pass
            except BadRow:
                continue
            self.read |= watched.read
            self.roles |= watched.roles

    def count(self, rows: Iterable[Row]) -> None:
        """Count columns and judgements."""
        for row in rows:
            self.columns.update(columns_of(row))
            for column, role in self.roles.items():
                if role == "judgement" and isinstance(row.get(column), str | int | float):
                    self.values.setdefault(column, Counter())[str(row[column])] += 1

    @property
    def unused(self) -> dict[str, int]:
        """Columns that hold something and are not read, with their rows."""
        return {name: rows for name, rows in self.columns.items() if name not in self.read}

    def sentences(self) -> list[str]:
        """How the file was read; and, where there is something, what of it was not."""
        parts = [f"{words} {self._columns(role)}" for role, words in _WORDS.items() if role in self.roles.values()]
        said = [f"{self.file.name}: read as {self.format}: {', '.join(parts)}" if parts else ""]
        if not parts:
            said = [f"{self.file.name}: read as {self.format}"]
        for what, found in (("columns", self.unused), ("keys of turns", self.ignored)):
            if found:
                said.append(f"{self.file.name}: {what} that are not used: {_listed(found)}")
        return said

    def _columns(self, role: Role) -> str:
        names = [name for name, its in self.roles.items() if its == role]
        return " + ".join(f"`{name}`{self._seen(name)}" for name in names)

    def _seen(self, column: str) -> str:
        values = self.values.get(column)
        if not values:
            return ""
        more = ", …" if len(values) > _SHOWN else ""
        return f" ({', '.join(f'{value}: {count:,}' for value, count in values.most_common(_SHOWN))}{more})"


def columns_of(row: Mapping[str, Any]) -> list[str]:
    """The columns that hold something."""
    return [name for name, value in row.items() if not (is_blank(value) or value in ([], {}))]


def _listed(found: Mapping[str, int]) -> str:
    names: Sequence[str] = [f"`{name}` ({rows:,} rows)" for name, rows in found.items()]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
