"""Submits answers over Argilla's API with annotators' keys, in the format of its page.

Used by the demo's simulated annotators, and by scripted annotators in tests.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from labeling.argilla.client import Client
from labeling.backend import LabelingError, Verdict
from labeling.questions import Raw, discarded_values, question_of, raw_values
from labeling.reviews import raw_review
from labeling.server import Connection

BULK = 100  # responses per request; Argilla's maximum


def submit_rankings(
    connection: Connection,
    dataset: str,
    workspace: str,
    rankings: Mapping[str, Sequence[int]],
    advance: Callable[[int], None] = lambda number: None,
) -> None:
    """Submit one annotator's ranks, task id -> ranks, with that annotator's `connection`.

    Idempotent: submitted answers stay, so that a restarted client continues where it stopped. `advance` receives the
    number of finished answers, earlier ones included. Raises `LabelingError`, also for a task outside the dataset.
    """
    with Annotator(connection, dataset, workspace) as annotator:
        done = [task for task, status in annotator.statuses().items() if status == "submitted" and task in rankings]
        advance(len(done))
        rest = {task: ranks for task, ranks in rankings.items() if task not in set(done)}
        annotator.submit(rest, advance=advance)


class Annotator:
    """One annotator's access to one dataset."""

    def __init__(self, connection: Connection, dataset: str, workspace: str) -> None:
        self._client = Client(connection)
        workspace_id = self._client.workspaces().get(workspace)
        found = workspace_id and self._client.dataset(workspace_id, dataset)
        if not found:
            raise LabelingError(
                f"This account sees no dataset '{dataset}' in a workspace '{workspace}' at {self._client.url}. "
                "Publish it first, and add the account to the workspace (`python -m labeling users add`).",
                fault="request",
            )
        self._dataset: dict[str, Any] = found
        settings = self._client.get(f"/datasets/{found['id']}/questions", f"read dataset '{dataset}'")["items"]
        try:
            self._question, self._size = question_of(settings)
        except ValueError as error:
            raise LabelingError(f"Dataset '{dataset}' at {self._client.url}: {error}", fault="request") from None
        self._records = {record["external_id"]: record for record in self._client.own_records(found)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def statuses(self) -> dict[str, str]:
        """Return task id -> "draft", "submitted", "discarded" or "pending", at this object's creation."""
        return {
            task: record["responses"][0]["status"] if record.get("responses") else "pending"
            for task, record in self._records.items()
        }

    def pending(self) -> list[str]:
        """Return the ids of tasks that are incomplete and that this annotator has not answered."""
        return [
            task
            for task, status in self.statuses().items()
            if status == "pending" and self._records[task]["status"] == "pending"
        ]

    def submit(
        self,
        rankings: Mapping[str, Sequence[int]],
        comments: Mapping[str, str] | None = None,
        both_bad: Iterable[str] = (),
        advance: Callable[[int], None] = lambda number: None,
    ) -> None:
        given_comments, bad = comments or {}, set(both_bad)
        values = {
            task: self._values(task, ranks, given_comments.get(task, ""), task in bad)
            for task, ranks in rankings.items()
        }
        self._send("submitted", values, advance)

    def review(
        self, verdicts: Mapping[str, tuple[Verdict, str | None]], comments: Mapping[str, str] | None = None
    ) -> None:
        """Submit reviews: task id -> (verdict on its draft, text of the correction field)."""
        given_comments = comments or {}
        values = {
            task: raw_review(verdict, text, given_comments.get(task, "")) for task, (verdict, text) in verdicts.items()
        }
        self._send("submitted", values)

    def draft(self, rankings: Mapping[str, Sequence[int]]) -> None:
        self._send("draft", {task: self._values(task, ranks) for task, ranks in rankings.items()})

    def discard(self, reasons: Mapping[str, str]) -> None:
        """Discard tasks: task id -> reason."""
        self._send("discarded", {task: discarded_values(reason) for task, reason in reasons.items()})

    def _values(self, task: str, ranks: Sequence[int], comment: str = "", both_bad: bool = False) -> Raw:
        if self._question == "review":
            raise LabelingError(f"Task '{task}' is a draft to review; it has no ranks.", fault="request")
        if len(ranks) != self._size:
            raise LabelingError(f"Task '{task}' has {self._size} answers, but the ranks are {ranks}.", fault="request")
        return raw_values(self._question, ranks, comment, both_bad)

    def _send(
        self,
        status: Literal["submitted", "draft", "discarded"],
        values: Mapping[str, Raw],
        advance: Callable[[int], None] = lambda number: None,
    ) -> None:
        name = self._dataset["name"]
        unknown = sorted(set(values) - set(self._records))
        if unknown:
            raise LabelingError(f"No such task in dataset '{name}': {', '.join(unknown[:5])}", fault="request")
        items = [
            {"record_id": self._records[task]["id"], "status": status, "values": raw} for task, raw in values.items()
        ]
        for start in range(0, len(items), BULK):
            bulk = items[start : start + BULK]
            sent = self._client.post("/me/responses/bulk", f"take answers to '{name}'", {"items": bulk})["items"]
            refused = [item["error"]["detail"] for item in sent if item["error"]]
            advance(len(bulk) - len(refused))
            if refused:
                raise LabelingError(
                    f"Argilla at {self._client.url} refused {len(refused)} of {len(bulk)} answers to '{name}': "
                    f"{refused[0]}",
                    fault="request",
                )
