"""The account of a reading: how many rows there were, and which were dropped, where and why.

read = kept + dropped, always. Dropped rows are malformed (they cannot be used as they are) or left out for
another reason, such as being a duplicate; only malformed ones count against `max_bad_fraction`, since only
they say that the file was misread.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.data.faults import BadRow, Place
from pipeline.data.rows import write_jsonl
from pipeline.errors import RequestError

OnBadRow = Literal["drop", "error"]
RowT = TypeVar("RowT")

DUPLICATE = "duplicate"

_EXCERPT = 200


@dataclass(frozen=True)
class Dropped:
    """One dropped row."""

    place: Place
    field: str | None
    role: str | None
    reason: str
    excerpt: str
    malformed: bool

    def __str__(self) -> str:
        return f"{self.place}: {BadRow(self.field, self.role, self.reason)}"

    def as_row(self) -> dict[str, Any]:
        """The entry as a line of ledger.jsonl; `item` is the index or key in a file that is one document."""
        return {
            "file": str(self.place.file),
            "line": self.place.line,
            "item": self.place.item,
            "field": self.field,
            "role": self.role,
            "reason": self.reason,
            "excerpt": self.excerpt,
        }


@dataclass
class Ledger:
    """Grows while rows are read; `read` counts every row, `entries` the dropped ones."""

    read: int = 0
    entries: list[Dropped] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        """Rows that were left out, duplicates among them."""
        return len(self.entries)

    @property
    def kept(self) -> int:
        """Rows that went on."""
        return self.read - self.dropped

    @property
    def duplicates(self) -> int:
        """Dropped rows that were there already."""
        return sum(entry.reason == DUPLICATE for entry in self.entries)

    @property
    def malformed(self) -> list[Dropped]:
        """Dropped rows that cannot be used as they are."""
        return [entry for entry in self.entries if entry.malformed]

    def reasons(self) -> dict[str, int]:
        """How often each reason was given, the most frequent first."""
        return dict(Counter(entry.reason for entry in self.entries).most_common())

    def drop(self, place: Place, fault: BadRow, content: object, *, malformed: bool = True) -> Dropped:
        """Enter a row that was left out, with the beginning of its content."""
        excerpt = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        printable = excerpt[:_EXCERPT].encode("utf-8", "backslashreplace").decode()
        entry = Dropped(place, fault.field, fault.role, fault.reason, printable, malformed)
        self.entries.append(entry)
        return entry

    def write(self, path: Path) -> None:
        """Write one line per dropped row. Raises PipelineError if the disk does not take it."""
        write_jsonl(path, (entry.as_row() for entry in self.entries))


def leave_out_long(rows: Sequence[RowT], lengths: Sequence[int], limit: int, file: Path) -> tuple[list[RowT], Ledger]:
    """The rows of a file of our own, one a line, that fit into `limit` tokens, and the ledger of the others."""
    ledger, kept = Ledger(read=len(rows)), []
    for line, (row, length) in enumerate(zip(rows, lengths, strict=True), start=1):
        if length <= limit:
            kept.append(row)
        else:
            ledger.drop(
                Place(file, line),
                BadRow(None, None, f"longer than {limit} tokens"),
                f"{length} tokens",
                malformed=False,
            )
    return kept, ledger


def refuse_row(entry: Dropped) -> RequestError:
    """The error for a row that cannot be used where no row may be dropped."""
    return RequestError(f"{entry}\n  {entry.excerpt}\nMend that row, or leave such rows out with on_bad_row=drop.")


def check_bad_fraction(ledger: Ledger, max_bad_fraction: float) -> None:
    """Raise RequestError if nothing is left, or if more rows are malformed than may be dropped in passing."""
    malformed = ledger.malformed
    fraction = len(malformed) / ledger.read if ledger.read else 0.0
    if ledger.kept and fraction <= max_bad_fraction:
        return
    counts = Counter(entry.reason for entry in malformed).most_common(5)
    lines = [f"  {count:,} x {reason}" for reason, count in counts]
    places = [f"  {entry}" for entry in malformed[:3]]
    allowed = f"more than max_bad_fraction={max_bad_fraction:g} allows" if ledger.kept else "so none is left"
    raise RequestError(
        "\n".join(
            [
                f"{len(malformed):,} of {ledger.read:,} rows ({fraction:.0%}) cannot be used, {allowed}:",
                *lines,
                "The first of them:",
                *places,
                "Mend the rows, name the right format by hand (format=...), or raise max_bad_fraction.",
            ]
        )
    )
