"""A place for rounds: a new workspace on a real server, with people who answer over the API."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.client import Client
from labeling.argilla.submitting import Annotator
from labeling.backend import Question, Queue, Round
from labeling.records import Task
from labeling.server import Connection, accounts

RESPONSES = {"pairwise": 2, "review": 1}  # per task; 4 for other questions


@dataclass
class Place:
    connection: Connection
    home: Path
    workspace: str = field(default_factory=lambda: f"w{uuid4().hex[:8]}")
    said: list[str] = field(default_factory=list)

    @property
    def backend(self) -> ArgillaBackend:
        return ArgillaBackend(self.connection, say=self.said.append, home=self.home)

    @property
    def owner(self) -> Client:
        return Client(self.connection)

    def round(
        self, question: Question = "ranking", tasks: Sequence[Task] | None = None, overlap: int = 1, name: str = "round"
    ) -> Round:
        given = tasks if tasks is not None else make(3, RESPONSES.get(question, 4))
        return Round(self.workspace, question, "Rank them.", [Queue(f"{self.workspace}-{name}", given, overlap)])

    def person(self, name: str) -> str:
        """Return the account's name, which differs between tests."""
        return f"{name}-{self.workspace}"

    def key(self, name: str) -> Connection:
        self.backend.add_annotators([self.person(name)], self.workspace)
        return accounts.key_of(self.connection, self.person(name))

    def annotator(self, name: str, asked: Round) -> Annotator:
        return Annotator(self.key(name), asked.queues[0].name, self.workspace)


def make(number: int, responses: int = 4, words: int = 3) -> list[Task]:
    return [
        {
            "id": f"t{index:04}",
            "prompt": [{"role": "user", "content": f"Question {index}?"}],
            "responses": [f"Answer {slot}: " + "word " * words for slot in range(responses)],
        }
        for index in range(number)
    ]
