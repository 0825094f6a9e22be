"""Who was just handed which records: soft, in memory, forgotten after a while.

Annotators see a page of records at a time. Without this, everybody would be handed the same first page.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

PAGE = 10  # records that Argilla's page fetches at once; who asks for more reads, and does not answer
SECONDS = 600.0


class Leases:
    """One lease is one person and one record, for `seconds` from when it was handed out last."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.handing_out = asyncio.Lock()  # one page at a time, or two people would be handed the same
        self._until: dict[UUID, dict[UUID, float]] = {}  # person -> record -> when it ends

    def give(self, person: UUID, records: Sequence[UUID]) -> None:
        """This person is now looking at these records, and at no other: what was left is free again."""
        end = self._clock() + self._seconds
        self._until[person] = dict.fromkeys(records[:PAGE], end)

    def end(self, person: UUID, record: UUID) -> None:
        """This person has answered."""
        self._until.get(person, {}).pop(record, None)

    def of_others(self, person: UUID) -> dict[UUID, int]:
        """Record -> how many other people are looking at it."""
        now = self._clock()
        held: dict[UUID, int] = {}
        for other, records in self._until.items():
            if other != person:
                for record, end in records.items():
                    if end > now:
                        held[record] = held.get(record, 0) + 1
        return held


leases = Leases()
