"""Leases: the records that each annotator is looking at, in memory, for a limited time.

Annotators get a page of records at a time. Without leases, all of them would get the same first page.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

PAGE = 10  # records that Argilla's page fetches at once; larger requests come from readers, not from annotators
SECONDS = 600.0


class Leases:
    """The current leases: one person and one record each, for `seconds` since the person last got the record."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.handing_out = asyncio.Lock()  # one page at a time, otherwise two people could get the same
        # (person, dataset) -> record -> end of the lease
        self._until: dict[tuple[UUID, UUID], dict[UUID, float]] = {}

    def give(self, person: UUID, dataset: UUID, records: Sequence[UUID]) -> None:
        """Lease these records of a dataset to a person and release the person's other records in it."""
        end = self._clock() + self._seconds
        self._until[person, dataset] = dict.fromkeys(records[:PAGE], end)

    def end(self, person: UUID, dataset: UUID, record: UUID) -> None:
        """End the lease of a record that the person has answered."""
        self._until.get((person, dataset), {}).pop(record, None)

    def of_others(self, person: UUID) -> dict[UUID, int]:
        """Return record -> number of other people with a lease on it."""
        now = self._clock()
        held: dict[UUID, int] = {}
        for (other, _), records in self._until.items():
            if other != person:
                for record, end in records.items():
                    if end > now:
                        held[record] = held.get(record, 0) + 1
        return held


leases = Leases()
