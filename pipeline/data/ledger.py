"""The ledger of reading: how many rows were read, and which were dropped, where and why.

Always read = kept + dropped. Each dropped row has a step; only malformed rows (step `format`) count against
`max_bad_fraction`, since only they show that a file was misread.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pipeline.data.faults import BadRow, Place
from pipeline.data.rows import write_jsonl
from pipeline.errors import RequestError

OnBadRow = Literal["drop", "error"]
Step = Literal[
    "format",
    "cleaning",
    "template",
    "length",
    "duplicate",
    "near-duplicate",
    "overlap",
    "superseded",
    "conflict",
    "weight",
    "unpaired",
]
RowT = TypeVar("RowT")

STEPS: dict[Step, str] = {
    "format": "malformed",
    "cleaning": "left out by a cleaning rule",
    "template": "refused by the model's chat template",
    "length": "too long or too short",
    "duplicate": "exact duplicates",
    "near-duplicate": "near-duplicates",
    "overlap": "too close to a test row",
    "superseded": "answered again by the same person",
    "conflict": "conflicting answers to one prompt",
    "weight": "not drawn at the source's weight",
    "unpaired": "nothing to compare them with",
}  # in the order of the steps; in words

_EXCERPT = 200
_EXAMPLES = 3  # kept entries per reason
_SHOWN = 5  # reasons per error message


@dataclass(frozen=True)
class Dropped:
    """One dropped row."""

    place: Place
    field: str | None
    role: str | None
    reason: str
    excerpt: str
    step: Step = "format"
    source: str = ""
    like: Place | None = None  # the row that was kept in its place

    def __str__(self) -> str:
        return f"{self.place}: {BadRow(self.field, self.role, self.reason)}"

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """The entry of a line that `as_row` wrote before rows were compared, so without `like`."""
        place = Place(Path(row["file"]), row["line"], row["item"])
        said = {name: row[name] for name in ("field", "role", "reason", "excerpt", "step")}
        return cls(place, **said, source=row.get("source", ""))

    def as_line(self) -> str:
        """The entry as JSON."""
        return json.dumps(self.as_row(), ensure_ascii=False)

    def as_row(self) -> dict[str, Any]:
        """The entry as a line of ledger.jsonl; `item` is the index or key in a file that is one document."""
        return {
            "file": str(self.place.file),
            "line": self.place.line,
            "item": self.place.item,
            "step": self.step,
            "field": self.field,
            "role": self.role,
            "reason": self.reason,
            "excerpt": self.excerpt,
            **({"source": self.source} if self.source else {}),
            **({"like": str(self.like)} if self.like else {}),
        }


class Ledger:
    """Counts rows while they are read. Entries go to `sink` at once; without a sink they are kept in `entries`."""

    def __init__(self, sink: Callable[[Dropped], object] | None = None) -> None:
        self.entries: list[Dropped] = []
        self.reads: Counter[str] = Counter()  # rows of each source
        self.counts: Counter[tuple[str, Step, str]] = Counter()  # dropped ones by source, step and reason
        self.first: dict[tuple[Step, str], list[Dropped]] = defaultdict(list)  # the first entries of each reason
        self._sink = sink or self.entries.append

    @property
    def read(self) -> int:
        """Number of rows read."""
        return self.reads.total()

    @property
    def dropped(self) -> int:
        """Number of dropped rows, duplicates included."""
        return self.counts.total()

    @property
    def kept(self) -> int:
        """Number of rows kept."""
        return self.read - self.dropped

    def at(self, *steps: Step) -> int:
        """Number of rows dropped at these steps."""
        return sum(count for (_, step, _), count in self.counts.items() if step in steps)

    def of(self, source: str, step: Step) -> int:
        """Number of rows of a source dropped at a step."""
        return sum(count for (name, at, _), count in self.counts.items() if (name, at) == (source, step))

    @property
    def duplicates(self) -> int:
        """Number of exact and near-duplicates."""
        return self.at("duplicate", "near-duplicate")

    def reasons(self, *steps: Step) -> dict[str, int]:
        """Rows per reason at these steps (by default all), the most frequent first."""
        counts: Counter[str] = Counter()
        for (_, step, reason), count in self.counts.items():
            if not steps or step in steps:
                counts[reason] += count
        return dict(counts.most_common())

    def count_read(self, rows: int = 1, source: str = "") -> None:
        """Count rows that were read."""
        self.reads[source] += rows

    def drop(
        self,
        place: Place,
        fault: BadRow,
        content: object,
        step: Step = "format",
        *,
        source: str = "",
        like: Place | None = None,
    ) -> Dropped:
        """Record a dropped row, with an excerpt of its content."""
        entry = Dropped(place, fault.field, fault.role, fault.reason, excerpt_of(content), step, source, like)
        self.add(entry)
        return entry

    def add(self, entry: Dropped) -> None:
        """Record an entry of another ledger."""
        self.counts[entry.source, entry.step, entry.reason] += 1
        if len(self.first[entry.step, entry.reason]) < _EXAMPLES:
            self.first[entry.step, entry.reason].append(entry)
        self._sink(entry)

    def write(self, path: Path) -> None:
        """Write one line per kept entry. Raises PipelineError if writing fails."""
        write_jsonl(path, (entry.as_row() for entry in self.entries))


def excerpt_of(content: object) -> str:
    """The beginning of a row's content, to recognise the row; a conversation as `role: text` lines."""
    if isinstance(content, str):
        text = content
    elif isinstance(content, list) and all(isinstance(turn, dict) and "content" in turn for turn in content):
        text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in content)
    else:
        text = json.dumps(content, ensure_ascii=False, default=str)
    return text[:_EXCERPT].encode("utf-8", "backslashreplace").decode()


def refuse_row(entry: Dropped, group: str = "data") -> RequestError:
    """The error for a malformed row if no row may be dropped. `group` is the config node with the reading options."""
    return RequestError(
        f"{entry}\n  {entry.excerpt}\nCorrect that row, or drop such rows with {group}.on_bad_row=drop."
    )


def check_bad_fraction(ledger: Ledger, max_bad_fraction: float, group: str = "data", *, used: bool = False) -> None:
    """Raise RequestError if no row is left, or if more rows are malformed than allowed.

    `group` is the config node that names format and columns; empty if they cannot be named. `used`: rows that the
    ledger has as dropped are of use elsewhere, so that something is left in any case.
    """
    malformed = ledger.at("format")
    fraction = malformed / ledger.read if ledger.read else 0.0
    if (ledger.kept or used) and fraction <= max_bad_fraction:
        return
    steps: list[Step] = ["format"] if ledger.kept else list(STEPS)
    found = [(count, ledger.first[step, reason][0]) for step in steps for reason, count in ledger.reasons(step).items()]
    unused = malformed if ledger.kept else ledger.dropped
    option = f"{group}.max_bad_fraction" if group else "max_bad_fraction"
    allowed = f"more than {option}={max_bad_fraction:g} allows" if ledger.kept else "so none is left"
    named = f", or name the columns ({group}.columns) or the format ({group}.format)" if group else ""
    raise RequestError(
        "\n".join(
            [
                f"{unused:,} of {ledger.read:,} rows ({unused / max(1, ledger.read):.0%}) cannot be used, {allowed}:",
                *(f"  {count:,} x {entry.reason}; the first: {entry}" for count, entry in found[:_SHOWN]),
                *([f"  … and {len(found) - _SHOWN} other reasons"] if len(found) > _SHOWN else []),
                f"The remaining rows may be misread, too: look at these first. Correct them{named}.",
            ]
        )
    )
