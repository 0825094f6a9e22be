"""The place of a row and its fault."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row starts: the file, the line (from 1), and its index or key in a one-document file."""

    file: Path
    line: int
    item: int | str | None = None

    def __str__(self) -> str:
        item = "" if self.item is None else f" (item {self.item!r})"
        return f"{self.file}, line {self.line}{item}"


class BadRow(Exception):
    """One row cannot be used; the rest of its file can.

    `reason` is a phrase that many rows share, so that the ledger can count it. Details of one row are in `field` (a
    path such as `conversations[3].from`) and `role`.
    """

    def __init__(self, field: str | None, role: str | None, reason: str) -> None:
        super().__init__(field, role, reason)
        self.field = field
        self.role = role
        self.reason = reason

    def __str__(self) -> str:
        field = [f"field {self.field}"] if self.field else []
        role = [f"role {self.role!r}"] if self.role else []
        return ": ".join([", ".join([*field, *role]), self.reason]) if field or role else self.reason


class LeftOut(BadRow):
    """A well-formed row that is marked as not to be used, for example with an answer marked as bad."""
