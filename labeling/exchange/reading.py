"""What a reader makes of a file's rows: votes, the rows that it cannot use, and how it read the columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from labeling.backend import LabelingError
from labeling.votes import Vote

Row = Mapping[str, Any]
Rows = Sequence[tuple[object, Row]]
"""(place, row): the place names the row to a person."""

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
"""What columns are read as, in the order of the sentence."""

_FOUND = 40  # characters of a cell that are shown


class Unusable(ValueError):
    """A row that cannot be used: the field, a reason that many rows share, and the cell's content."""

    def __init__(self, field: str, reason: str, found: object = "") -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.found = field, reason, shown(found)


BadRows = list[tuple[str, Unusable, object]]
"""(place, fault, content) of rows that are none."""


class Fault(NamedTuple):
    """One row, or part of it, that was left out, and why."""

    place: object
    field: str
    reason: str
    found: str
    row: object


@dataclass
class Reading:
    """The outcome of reading rows in one format; readers fill it.

    `bad` are rows that are not as they should be, `left_out` those that say themselves that they do not count. `rows`
    is the number of judgements read, the bad ones among them. `columns` maps a role to the columns that were read as
    such, `unread` names the other columns.
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
        """What a person should know of the reading; a tally's text has its count at {}."""
        return [text.replace("{}", f"{count:,}") for text, count in self.tallies.items()]

    def enter_bad(self, place: object, fault: Unusable, row: object) -> None:
        """Count a row that is not as it should be."""
        self.bad.append(Fault(place, fault.field, fault.reason, fault.found, row))

    def leave_out(self, place: object, field: str, reason: str, row: object) -> None:
        """Count a row that does not count by what it says itself."""
        self.left_out.append(Fault(place, field, reason, "", row))

    def note(self, role: str, *names: str | None) -> None:
        """Remember columns as read, and as what."""
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
    """The columns of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(name for _, row in rows for name in row))


def refuse(message: str) -> NoReturn:
    """Raise the error for a file that cannot be read as it is."""
    raise LabelingError(message, fault="request")


def shown(value: object) -> str:
    """A cell's content, shortened for an error."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _FOUND else f"{text[:_FOUND]}…"


def listed(names: Sequence[str]) -> str:
    """Names for a person; a long list by its first, second and last one."""
    quoted = [f"`{name}`" for name in names]
    return ", ".join(quoted) if len(quoted) <= 4 else f"{quoted[0]} … {quoted[-1]}"
