"""The copies of people's answers in the project: taken when answers are read, put back with tasks that are lost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labeling.argilla.decisions import decision_queues
from labeling.argilla.page import CHECKSUM
from labeling.backend import Round
from labeling.server import Connection, accounts, snapshots
from labeling.server.copied import COUNTED, Copy, answers_in, copies_of, summary


class Copies:
    """The copies in one folder, and the server that they are of. `say` receives what was put back or is missing."""

    def __init__(self, folder: Path, home: Path, connection: Connection, say: Callable[[str], None]) -> None:
        self._folder, self._home, self._connection, self._say = folder, home, connection, say
        self._reported: set[str] = set()  # answers are read every few seconds while a command waits

    def register(self, workspace: str) -> None:
        """Let `labeling status` and the server's supervisor copy the answers in this workspace, too."""
        snapshots.register(self._home, workspace, self._folder)

    def decisions(self, asked: Round) -> dict[str, list[Copy]]:
        """Return the snapshots of the queues that have decisions on this round."""
        names = decision_queues(asked, snapshots.queues(self._folder))
        return {name: snapshots.read(self._folder, name) for name in names}

    def put_back(self, queue: str, records: Sequence[dict[str, Any]]) -> None:
        """Add the answers in the snapshot to the records of lost tasks, under accounts of the annotators' names."""
        given = answers_to(records, snapshots.read(self._folder, queue))
        if given:
            add_answers(records, given, accounts.authors(self._connection, {copy["annotator"] for copy in given}))
            self._say(f"'{queue}' was lost on the server: {summary(given)} put back from {self._folder}")

    def take(self, queue: str, records: Iterable[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
        """Read a queue's records, take a snapshot of them, and report answers that are only in the snapshot.

        Answers that were put back get the times at which they were given.
        """
        before = snapshots.read(self._folder, queue)
        found = list(records)
        kept = snapshots.keep(self._folder, queue, answers_in(found, names, before))
        set_first_times(found, kept, names)
        if missing := missing_in(found, kept, names):
            remark = (
                f"'{queue}': {summary(missing)} in {self._folder} and not on the server: withdrawn, of a deleted "
                "account, or lost. They do not count."
            )
            if remark not in self._reported:
                self._say(remark)
            self._reported.add(remark)
        return found


def answers_to(records: Iterable[Mapping[str, Any]], copies: Iterable[Copy]) -> list[Copy]:
    """Return the copies of answers to these records; an answer to another version of a task is left out."""
    asked = {record["external_id"]: record["metadata"][CHECKSUM] for record in records}
    return [copy for copy in copies if asked.get(copy["task"]) == copy["checksum"]]


def add_answers(records: Iterable[dict[str, Any]], copies: Iterable[Copy], ids: Mapping[str, str]) -> None:
    """Add answers to the records that they are about; `ids` maps annotators to their accounts."""
    by_task = {record["external_id"]: record for record in records}
    for copy in copies:
        response = {"user_id": ids[copy["annotator"]], "status": copy["status"], "values": copy["values"]}
        by_task[copy["task"]].setdefault("responses", []).append(response)


def set_first_times(records: Iterable[Mapping[str, Any]], copies: Iterable[Copy], names: Mapping[str, str]) -> None:
    """Give each answer that equals its copy the copy's times: a server that was restored has later ones."""
    known = {(copy["task"], copy["annotator"]): copy for copy in copies}
    for record in records:
        for response in record["responses"]:
            copy = known.get((record["external_id"], names.get(response["user_id"], "")))
            if copy and (copy["status"], copy["values"]) == (response["status"], response["values"]):
                response.update(inserted_at=copy["inserted"], updated_at=copy["updated"])


def missing_in(records: Iterable[Mapping[str, Any]], copies: Iterable[Copy], names: Mapping[str, str]) -> list[Copy]:
    """Return the submitted and discarded answers among the copies that the server does not have."""
    known = {(copy["task"], copy["annotator"]) for record in records for copy in copies_of(record, names)}
    return [copy for copy in copies if copy["status"] in COUNTED and (copy["task"], copy["annotator"]) not in known]
