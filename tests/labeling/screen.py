"""Argilla's page as far as it decides which records it asks for and which one it shows (its Records, version 2.8)."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from labeling.server.accounts import checked

PENDING = {
    "filters": {
        "and": [
            {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]},
            {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]},
        ]
    }
}
MANY = 10  # records of a request


def searched(page: httpx.Client, dataset: str, limit: int = MANY, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return a page of a person's pending records, and their total number."""
    found = checked(page.post(f"/me/datasets/{dataset}/records/search?limit={limit}&offset={offset}", json=PENDING))
    return [item["record"] for item in found["items"]], found["total"]


@dataclass
class Screen:
    """One person's page: it numbers the records that it receives, and shows the one with the number of the moment.

    Where the line is `slow`, a request for more reaches the server after the next answer.
    """

    client: httpx.Client
    dataset: str
    slow: bool = False
    number: int = 1
    on_its_way: tuple[int, int] | None = None
    numbers: dict[str, int] = field(default_factory=dict)  # by record
    answered: list[str] = field(default_factory=list)

    def load(self) -> None:
        """Open the page, or reload it: its address keeps the number."""
        self.numbers, self.on_its_way = {}, None
        self._ask(self.number, self.number)
        if self.shown is None and self.number > 1:
            self.number = 1
            self._ask(1, 1)

    @property
    def shown(self) -> str | None:
        return next((record for record, number in self.numbers.items() if number == self.number), None)

    def submit(self, answer: dict[str, Any]) -> None:
        """Answer the record that is shown and go to the next one; ask for more while some are left."""
        assert self.shown is not None
        checked(self.client.post(f"/records/{self.shown}/responses", json=answer))
        self.answered.append(self.shown)
        if self.on_its_way:
            self._ask(*self.on_its_way)
            self.on_its_way = None
        self.next()

    def next(self) -> None:
        self.number += 1
        if self.shown is None:
            behind = self.number > max(self.numbers.values())
            self._ask(self._behind() if behind else self.number, self.number)
        few = sum(number > self.number for number in self.numbers.values()) <= MANY / 2
        if few and not self.on_its_way:
            more = self._behind(), max(self.numbers.values()) + 1
            if self.slow:
                self.on_its_way = more
            else:
                self._ask(*more)

    def _behind(self) -> int:
        """Return the position behind the unanswered records that the page holds."""
        return max(self.numbers.values()) + 1 - len(self.numbers.keys() & set(self.answered))

    def _ask(self, position: int, number: int) -> None:
        """Ask for the records from a position on; a record that is there already gets its new number."""
        for record in searched(self.client, self.dataset, MANY, position - 1)[0]:
            self.numbers[record["id"]] = number
            number += 1
