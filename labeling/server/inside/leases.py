"""Leases: the records that each annotator is looking at, for a limited time.

Annotators get a page of records at a time. Without leases, all of them would get the same first page.

Argilla's page keeps the records that it has received, and asks for more while some are left: from the position behind
those that it still holds. If the order has changed meanwhile, it receives a record for the second time, and moves it to
the end; when that is the record on the screen, the screen is empty. So the records that a page holds keep their
positions, for that person. They are also written to a file, since a page stays open while the server starts again.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from uuid import UUID

PAGE = 10  # records that Argilla's page fetches at once; larger requests come from readers, not from annotators
SECONDS = 600.0


@dataclass
class Held:
    """The unanswered records of one person's page in the order in which it received them, each with its lease's end."""

    search: str = ""
    until: dict[UUID, float] = field(default_factory=dict)


class Leases:
    """The current leases: one person and one record each, for `seconds` since the person last got the record."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._clock = clock
        self.handing_out = asyncio.Lock()  # one page at a time, otherwise two people could get the same
        self._held = defaultdict[tuple[UUID, UUID], Held](Held)  # by person and dataset
        self._file: TextIO | None = None

    def keep_in(self, file: Path, answered: Collection[tuple[UUID, UUID]]) -> None:
        """Hold what the pages in this file hold, and write to it from now on.

        `answered` has a person and a record for each answer: a page no longer counts the records that its person has
        answered since the file was written.
        """
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            with suppress(ValueError):  # the last line of a killed server is cut off
                self._read(*json.loads(line))
        self._file = file.open("w", encoding="utf-8")
        for (person, dataset), held in self._held.items():
            held.until = {record: end for record, end in held.until.items() if (person, record) not in answered}
            self._write(person, dataset)

    def _read(self, person: str, dataset: str, search: str, until: dict[str, float]) -> None:
        self._held[UUID(person), UUID(dataset)] = Held(search, {UUID(record): end for record, end in until.items()})

    def _write(self, person: UUID, dataset: UUID) -> None:
        """Write what a person's page holds; programs, which ask for many records, have no page."""
        if self._file is not None:
            held = self._held[person, dataset]
            until = {str(record): end for record, end in held.until.items() if end}
            self._file.write(json.dumps([str(person), str(dataset), held.search, until]) + "\n")
            self._file.flush()

    def held(self, person: UUID, dataset: UUID, search: str, *, anew: bool) -> list[UUID]:
        """Return the unanswered records of a person's page in its order, also those whose lease has ended.

        A page that loads `anew` begins with the records that are still leased, and one with another `search` without
        any.
        """
        held = self._held[person, dataset]
        if held.search != search:
            held.search, held.until = search, {}
        if anew:
            now = self._clock()
            held.until = {record: end for record, end in held.until.items() if end > now}
        return list(held.until)

    def give(self, person: UUID, dataset: UUID, records: Sequence[UUID]) -> None:
        """Put these records behind those that a person's page holds; the first `PAGE` of them are leased."""
        until = self._held[person, dataset].until
        until.update(dict.fromkeys(records[:PAGE], self._clock() + self._seconds))
        for record in records[PAGE:]:
            until.setdefault(record, 0.0)
        self._write(person, dataset)

    def end(self, person: UUID, dataset: UUID, record: UUID) -> None:
        """End the lease of a record that the person has answered."""
        self._held[person, dataset].until.pop(record, None)

    def of_others(self, person: UUID) -> dict[UUID, int]:
        """Return record -> number of other people with a lease on it."""
        now = self._clock()
        count: dict[UUID, int] = {}
        for (other, _), held in self._held.items():
            if other != person:
                for record, end in held.until.items():
                    if end > now:
                        count[record] = count.get(record, 0) + 1
        return count


leases = Leases()
