"""Rounds on an Argilla server: `ArgillaBackend` publishes tasks and reads annotators' answers with exact ranks.

The only modules that know Argilla's API are this one, `client` (requests and faults), `datasets` (their fields and
questions), `page` (an annotator's view), `answers` (answers as they are stored), `submitting` (answers over the API)
and `server`. No request reveals which
policy wrote a response: a record has its task's id, the prompt, the responses, and a checksum that annotators do not
see.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from labeling.argilla.answers import answer_of, name_of
from labeling.argilla.client import Client
from labeling.argilla.copies import Copies
from labeling.argilla.datasets import complete_dataset, correction_of
from labeling.argilla.decisions import decision_queues, lost_decisions, queues_with_opinions
from labeling.argilla.limits import check
from labeling.argilla.page import CHECKSUM, checksum, record_of
from labeling.argilla.submitting import submit_rankings
from labeling.backend import ADJUDICATION, AnnotatorAnswer, LabelingError, Queue, Round
from labeling.server import DEFAULT_HOME, Connection, accounts, address
from labeling.server.copied import COUNTED
from labeling.server.inside.opinions import MOST

BULK = 250  # records per request; Argilla accepts 500


def _ignore(remark: str) -> None:
    pass


class ArgillaBackend:
    """A `Backend`. `connection` must be an owner's; `say` receives warnings that need no action.

    People's answers are copied into the folder `copies`, and put back with tasks that a server has lost.
    """

    def __init__(
        self,
        connection: Connection,
        say: Callable[[str], None] = _ignore,
        home: Path = DEFAULT_HOME,
        copies: Path | None = None,
    ) -> None:
        self.url = connection.url
        self._connection = connection
        self._say = say
        self._home = home
        self._copies = None if copies is None else Copies(copies, home, connection, say)

    @property
    def address(self) -> str:
        """See `Backend.address`: it has this machine's name if the server listens on the network."""
        return address(self._home, self._connection)

    @cached_property
    def _client(self) -> Client:
        return Client(self._connection)

    def publish(self, asked: Round) -> int:
        """See `Backend.publish`. Records are sent in bulks: an interrupted upload is completed by the next call.

        A missing task is sent together with the answers to it in the snapshot, so none is lost or doubled in between.
        """
        check(asked)
        if self._copies is not None:
            self._copies.register(asked.workspace)
        workspace = self._workspace(asked.workspace)
        added = sum(self._publish_queue(asked, queue, workspace) for queue in asked.queues)
        self._put_decisions_back(asked)
        return added

    def answers(self, asked: Round) -> list[AnnotatorAnswer]:
        """See `Backend.answers`. Drafts are left out; discarded answers have their reason as comment."""
        check(asked)
        names = self._names()
        given = [*self._opinions(asked, names), *self._decisions(asked, names)]
        return sorted(given, key=lambda each: (each["task"], each["annotator"]))

    def _opinions(self, asked: Round, names: Mapping[str, str]) -> list[AnnotatorAnswer]:
        return [answer for queue in asked.queues for answer in self._queue_answers(asked, queue, names)]

    def _decisions(self, asked: Round, names: Mapping[str, str]) -> list[AnnotatorAnswer]:
        """Return the answers to this round's tasks in the workspace of `labeling adjudicate`, if there is one."""
        tasks = {task["id"]: task for queue in asked.queues for task in queue.tasks}
        return [
            answer_of(asked.question, task, response, name_of(response, names))
            for dataset in self._decision_datasets(asked)
            for record in self._read(dataset, names)
            if (task := tasks.get(record["external_id"]))
            for response in record["responses"]
            if response["status"] in COUNTED
        ]

    def _decision_datasets(self, asked: Round) -> list[dict[str, Any]]:
        place = self._client.workspaces().get(asked.workspace + ADJUDICATION)
        if place is None:
            return []
        found = self._client.get("/me/datasets", "list the data sets", workspace_id=place)["items"]
        by_name = {dataset["name"]: dataset for dataset in found}
        return [by_name[name] for name in decision_queues(asked, by_name)]

    def _put_decisions_back(self, asked: Round) -> None:
        """Publish decided tasks that the server has lost, with the decisions; `labeling adjudicate` adds the others."""
        copies = {} if self._copies is None else self._copies.decisions(asked)
        if not copies:
            return
        there = {
            dataset["name"]: [record["external_id"] for record in self._client.records(dataset)]
            for dataset in self._decision_datasets(asked)
        }
        if lost := lost_decisions(copies, there):
            queues = queues_with_opinions(asked, lost, self._opinions(asked, self._names()))
            self.publish(Round(asked.workspace + ADJUDICATION, asked.question, asked.guidelines, queues))

    def add_annotators(self, names: Sequence[str], workspace: str) -> list[str]:
        """See `Backend.add_annotators`; each new one gets an invitation file in the server's home."""
        return accounts.add_annotators(self._connection, list(names), workspace, self._home)

    def submit(self, asked: Round, answers: Iterable[AnnotatorAnswer], advance: Callable[[int], None]) -> None:
        """See `Backend.submit`: all annotators at once."""
        queue_of = {task["id"]: queue.name for queue in asked.queues for task in queue.tasks}
        given: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
        for answer in answers:
            if answer["ranks"] is not None:
                given[answer["annotator"], queue_of[answer["task"]]][answer["task"]] = answer["ranks"]

        def submitted(of: tuple[tuple[str, str], dict[str, list[int]]]) -> None:
            (name, dataset), ranks = of
            key = accounts.key_of(self._connection, name)
            submit_rankings(key, dataset, asked.workspace, ranks, advance=advance)

        with ThreadPoolExecutor(len({name for name, _ in given}) or 1) as pool:
            list(pool.map(submitted, given.items()))

    def _publish_queue(self, asked: Round, queue: Queue, workspace_id: str) -> int:
        wanted = {
            "guidelines": asked.guidelines,
            "distribution": {"strategy": "overlap", "min_submitted": queue.overlap},
            "metadata": {} if queue.most is None else {MOST: queue.most},
        }
        dataset = complete_dataset(self._client, asked, queue, workspace_id, wanted)
        there = {record["external_id"]: record for record in self._client.records(dataset)}
        self._check_same(queue, there)
        if any((dataset[key] or {}) != value for key, value in wanted.items()):
            self._client.patch(f"/datasets/{dataset['id']}", f"change dataset '{queue.name}'", wanted)
        missing = [task for task in queue.tasks if task["id"] not in there]
        opened_again = [
            task for task in queue.tasks if task["id"] in there and _has_lost_answers(there[task["id"]], queue.overlap)
        ]
        path, doing = f"/datasets/{dataset['id']}/records/bulk", f"add records to dataset '{queue.name}'"
        try:
            correction = correction_of(self._client, dataset) if asked.question == "review" else None
            records = [record_of(task, correction) for task in (*missing, *opened_again)]
        except ValueError as error:
            raise LabelingError(f"Queue '{queue.name}': {error}", fault="request") from None
        if missing and self._copies is not None:
            self._copies.put_back(queue.name, records[: len(missing)])
        for start in range(0, len(records), BULK):
            self._client.put(path, doing, {"items": records[start : start + BULK]})
        return len(missing)

    def _check_same(self, queue: Queue, there: Mapping[str, Mapping[str, Any]]) -> None:
        for task in queue.tasks:
            record = there.get(task["id"])
            if record is not None and (record["metadata"] or {}).get(CHECKSUM) != checksum(task):
                raise LabelingError(
                    f"Record '{task['id']}' of dataset '{queue.name}' at {self.url} has another prompt or other "
                    "answers than this round. It is not changed. Rename or delete the dataset there, or use another "
                    "project.",
                    fault="request",
                )

    def _queue_answers(self, asked: Round, queue: Queue, names: Mapping[str, str]) -> list[AnnotatorAnswer]:
        workspace_id = self._client.workspaces().get(asked.workspace)
        dataset = workspace_id and self._client.dataset(workspace_id, queue.name)
        if not dataset:
            raise LabelingError(
                f"There is no dataset '{queue.name}' in a workspace '{asked.workspace}' at {self.url}. Publish it "
                "(again): missing parts are restored.",
                fault="request",
            )
        tasks = {task["id"]: task for task in queue.tasks}
        answers, lost = [], 0
        for record in self._read(dataset, names):
            if task := tasks.get(record["external_id"]):
                lost += _has_lost_answers(record, dataset["distribution"]["min_submitted"])
                answers += [
                    answer_of(asked.question, task, response, name_of(response, names))
                    for response in record["responses"]
                    if response["status"] in COUNTED
                ]
        if lost:
            self._say(
                f"{lost:,} of {len(tasks):,} tasks in '{queue.name}' were complete and have lost answers: "
                "an annotator's account was deleted in Argilla together with its answers. Publish again to let "
                "others answer."
            )
        return answers

    def _read(self, dataset: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a dataset's records with all answers, which are copied into the project."""
        records = self._client.records(dataset)
        return list(records) if self._copies is None else self._copies.take(dataset["name"], records, names)

    def _workspace(self, name: str) -> str:
        found = self._client.workspaces().get(name)
        if found is None:
            found = self._client.post("/workspaces", f"make workspace '{name}', which is missing", {"name": name})["id"]
        return str(found)

    def _names(self) -> dict[str, str]:
        users = self._client.get("/users", "list the accounts (whose names stand beside the answers)")["items"]
        return {user["id"]: user["username"] for user in users}


def _has_lost_answers(record: Mapping[str, Any], overlap: int) -> bool:
    """Return whether a record is marked complete but lacks answers: Argilla does not recount for a deleted account."""
    submitted = sum(response["status"] == "submitted" for response in record["responses"])
    return bool(record["status"] == "completed" and submitted < overlap)
