"""The result of reading a file's rows: votes, unusable rows, and the roles of columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from labeling.backend import LabelingError
from labeling.votes import Vote

Row = Mapping[str, Any]
Rows = Sequence[tuple[object, Row]]
"""(place, row): the place identifies the row for the user."""

ROLES = (
    "prompt",
    "responses",
    "slots",
    "ranks",
    "scores (higher is better)",
    "verdicts",
    "models",
    "annotators",
    "times",
    "ids",
    "comments",
    "states",
)
"""Roles of columns, in the order of the sentence."""

_FOUND = 40  # shown characters of a cell


class Unusable(ValueError):
    """An unusable row: the field, a reason that many rows share, and the cell's content."""

    def __init__(self, field: str, reason: str, found: object = "") -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.found = field, reason, shown(found)


BadRows = list[tuple[str, Unusable, object]]
"""(place, fault, content) of entries that are not rows."""


class Fault(NamedTuple):
    """One dropped row or part of a row, and the reason."""

    place: object
    field: str
    reason: str
    found: str
    row: object


@dataclass
class Reading:
    """The outcome of reading rows in one format; readers fill it.

    `bad` are malformed rows, `left_out` rows that are marked as not counting. `rows` is the number of judgements read,
    bad ones included. `columns` maps a role to its columns, `unread` names the other columns.
    """

    form: str
    rows: int = 0
    votes: list[Vote] = field(default_factory=list)
    bad: list[Fault] = field(default_factory=list)
    left_out: list[Fault] = field(default_factory=list)
    tallies: Counter[str] = field(default_factory=Counter)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """Remarks for the user; {} in a tally's text becomes its count."""
        return [text.replace("{}", f"{count:,}") for text, count in self.tallies.items()]

    def add_bad(self, place: object, fault: Unusable, row: object) -> None:
        """Record a malformed row."""
        self.bad.append(Fault(place, fault.field, fault.reason, fault.found, row))

    def leave_out(self, place: object, field: str, reason: str, row: object) -> None:
        """Record a row that is marked as not counting."""
        self.left_out.append(Fault(place, field, reason, "", row))

    def note(self, role: str, *names: str | None) -> None:
        """Record columns as read in a role."""
        known = tuple(name for name in names if name)
        if known:
            self.columns[role] = known

    def __str__(self) -> str:
        """How the file was read, in one sentence."""
        roles = sorted(self.columns.items(), key=lambda item: ROLES.index(item[0]))
        parts = [f"{role} from {listed(names)}" for role, names in roles]
        unread = f"; not read: {listed(self.unread)}" if self.unread else ""
        return f"Read as {self.form}{': ' if parts else ''}{', '.join(parts)}{unread}"


def names_in(rows: Rows) -> list[str]:
    """The columns of all rows, in the order of first occurrence."""
    return list(dict.fromkeys(name for _, row in rows for name in row))


def refuse(message: str) -> NoReturn:
    """Raise the error for a file that cannot be read."""
    raise LabelingError(message, fault="request")


def shown(value: object) -> str:
    """A cell's content, shortened for an error."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _FOUND else f"{text[:_FOUND]}…"


def listed(names: Sequence[str]) -> str:
    """Names as text; a long list is shortened to its first and last name."""
    quoted = [f"`{name}`" for name in names]
    return ", ".join(quoted) if len(quoted) <= 4 else f"{quoted[0]} … {quoted[-1]}"
