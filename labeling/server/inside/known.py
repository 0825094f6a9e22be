"""A cache of data that every request needs and that rarely changes: users, keys, workspaces, datasets' questions.

The cache is cleared when a transaction commits or rolls back after a write to one of its tables.
"""

import functools
import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

TABLES = {"users", "workspaces", "workspaces_users", "datasets", "questions"}
TOUCH = "UPDATE datasets SET last_activity_at"  # part of every answer; it changes no cached data
_WRITTEN = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)


@functools.lru_cache(4096)
def changes_what_is_known(statement: str) -> bool:
    written = _WRITTEN.match(statement)
    return written is not None and written[1] in TABLES and not statement.startswith(TOUCH)


@dataclass(frozen=True)
class Question:
    """The parts of a question that Argilla's checks of an answer read."""

    name: str
    required: bool
    parsed_settings: Any


@dataclass(frozen=True)
class Dataset:
    id: UUID
    workspace_id: UUID
    min_submitted: int
    most_submitted: int | None  # see `opinions`
    questions: list[Question]


class Known:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.people: dict[str, Any] = {}  # name -> account, detached from sessions
        self.names: dict[str, str] = {}  # API key -> name
        self.workspaces: dict[UUID, set[UUID]] = {}  # person -> workspaces
        self.datasets: dict[UUID, Dataset] = {}
        self.queues: dict[UUID, list[tuple[str, list[UUID]]]] = {}  # workspace -> name and datasets of each queue
        self.answering: set[tuple[UUID, UUID]] = set()  # (dataset, a person who has answered there)


known = Known()
