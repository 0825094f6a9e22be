"""The ledger of judgement files, whose rows may hold several votes."""

from collections import Counter
from collections.abc import Sequence

from pipeline.data.faults import BadRow, Place
from pipeline.data.ledger import Ledger, OnBadRow, Step, excerpt_of, refuse_row
from pipeline.data.reading.raw import BrokenRow, RawRow


class Account:
    """A ledger with the beginnings of the raw rows, which its entries show, and remarks for the user."""

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.ledger, self.remarks = Ledger(), list[str]()
        self._excerpts: dict[Place, str] = {}
        self._on_bad_row = on_bad_row

    def count_read(self, raw: RawRow | BrokenRow) -> None:
        """Count a row that was read."""
        self._excerpts[raw.place] = excerpt_of(raw.text if isinstance(raw, BrokenRow) else raw.fields)
        self.ledger.count_read()

    def drop(self, place: Place, fault: BadRow, step: Step) -> None:
        """Record a dropped row. Raises RequestError for a malformed row if none may be dropped."""
        entry = self.ledger.drop(place, fault, self._excerpts[place], step)
        if step == "format" and self._on_bad_row == "error":
            raise refuse_row(entry, "labeling")

    def drop_parts(self, parts: Sequence[Place], out: Sequence[tuple[Place, BadRow, Step]]) -> None:
        """Record unused parts of rows with several parts, such as votes; `parts` has the place of each part.

        A row is dropped with its last part. While other parts count, the row stays and the unused part is counted as an
        extra row read, so that read = kept + dropped.
        """
        left = Counter(parts)
        left.subtract(place for place, _, _ in out)
        gone = set[Place]()
        for place, fault, step in out:
            if left[place]:
                self.ledger.count_read()
            elif place in gone:
                continue
            gone.add(place)
            self.drop(place, fault, step)
