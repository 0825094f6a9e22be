"""One queue per project on an annotator's page: open datasets with the same questions appear as one.

A project's tasks are in several datasets, since Argilla's quorum is one number per dataset: the tasks for every
annotator, the others, and those of further rounds. On the page, the first open dataset stands for all of its workspace
with the same questions and guidelines, under the project's name, with the records and the progress of all. A dataset
without open records is closed and not listed; a person's answers to it are still found, and count in the progress.
Owners and programs, which send an API key, see every dataset as it is.
"""

import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.api.routes import api_v1
from argilla_server.api.schemas.v1.datasets import Dataset as DatasetSchema
from argilla_server.api.schemas.v1.records import SearchRecordsResult
from argilla_server.enums import DatasetStatus, RecordStatus
from argilla_server.models import Dataset, Question, Record, User, Workspace

from . import pending
from .known import known
from .routes import route

Endpoint = Callable[..., Awaitable[Any]]
PENDING = {("response", "status", "pending"), ("record", "status", "pending")}  # the filters of the page's queue
BEYOND = 2**31 - 1  # an offset behind all records: the page then has only its total

from_page: ContextVar[bool] = ContextVar("from_page", default=False)
"""Whether the request comes from the page: it sends a token, programs send an API key."""

_DATASETS = sa.select(Dataset.id, Dataset.guidelines, Workspace.name).join(Workspace)
_DATASETS = _DATASETS.where(Dataset.workspace_id == sa.bindparam("workspace"), Dataset.status == DatasetStatus.ready)
_DATASETS = _DATASETS.order_by(Dataset.inserted_at)
_QUESTIONS = sa.select(Question.dataset_id, Question.name, Question.settings).join(Dataset).order_by(Question.name)
_QUESTIONS = _QUESTIONS.where(Dataset.workspace_id == sa.bindparam("workspace"))
_OPEN = sa.select(Record.id).where(Record.dataset_id == Dataset.id, Record.status == RecordStatus.pending).exists()
_OPEN = sa.select(Dataset.id).where(Dataset.workspace_id == sa.bindparam("workspace"), _OPEN)


@dataclass(frozen=True)
class Queue:
    """Datasets with the same questions and guidelines, oldest first."""

    name: str
    datasets: Sequence[UUID]
    open: Sequence[UUID]


def one_for_each_project() -> None:
    """Wrap the endpoints that the page reads datasets, records and progress from."""
    for method, path, wrap in ENDPOINTS:
        dependant = route(api_v1, method, path).dependant
        dependant.call = wrap(dependant.call)


def noticing_the_page(app: Any) -> Any:
    """Return the app with `from_page` set for each request."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        from_page.set(b"authorization" in names and b"x-argilla-api-key" not in names)
        await app(scope, receive, send)

    return answer


async def queues_of(db: Any, workspace: UUID) -> list[Queue]:
    """Return the queues of a workspace, those with open datasets first; equal names get a number."""
    there = known.queues.get(workspace)
    if there is None:
        there = known.queues[workspace] = await _members(db, workspace)
    open_ones = set(await db.scalars(_OPEN, {"workspace": workspace}))
    found, seen = [], Counter[str]()
    for name, datasets in sorted(there, key=lambda queue: not open_ones & {*queue[1]}):
        seen[name] += 1
        number = f" {seen[name]}" if seen[name] > 1 else ""
        found.append(Queue(name + number, datasets, [each for each in datasets if each in open_ones]))
    return found


async def _members(db: Any, workspace: UUID) -> list[tuple[str, list[UUID]]]:
    """Return the name and the datasets of each queue of a workspace, oldest first."""
    asked: dict[UUID, list[tuple[str, str]]] = {}
    for dataset, name, settings in await db.execute(_QUESTIONS, {"workspace": workspace}):
        asked.setdefault(dataset, []).append((name, repr(settings)))
    found: dict[tuple[Any, ...], tuple[str, list[UUID]]] = {}
    for dataset, guidelines, project in await db.execute(_DATASETS, {"workspace": workspace}):
        questions = tuple(asked.get(dataset, ()))
        name = f"{project}: drafts" if any(name == "review" for name, _ in questions) else project
        found.setdefault((guidelines, questions), (name, []))[1].append(dataset)
    return list(found.values())


async def _queue(db: Any, dataset: UUID, user: User) -> Queue:
    """Return the queue that a dataset belongs to; for owners, programs and unknown datasets only itself."""
    if from_page.get() and user.is_annotator:
        workspace = await db.scalar(sa.select(Dataset.workspace_id).where(Dataset.id == dataset))
        for queue in await queues_of(db, workspace) if workspace else ():
            if dataset in queue.datasets:
                return queue
    return Queue("", [dataset], [dataset])


def _listed(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that lists the first open dataset of each queue under the queue's name."""

    @functools.wraps(endpoint)
    async def answer(*, db: Any, current_user: User, **given: Any) -> Any:
        found = await endpoint(db=db, current_user=current_user, **given)
        if from_page.get() and current_user.is_annotator:
            workspaces = dict.fromkeys(each.workspace_id for each in found.items)
            queues = [queue for each in workspaces for queue in await queues_of(db, each)]
            names = {queue.open[0]: queue.name for queue in queues if queue.open}
            found.items = [_named(each, names[each.id]) for each in found.items if each.id in names]
        return found

    return answer


def _renamed(endpoint: Endpoint) -> Endpoint:
    @functools.wraps(endpoint)
    async def answer(*, db: Any, current_user: User, dataset_id: UUID, **given: Any) -> Any:
        found = await endpoint(db=db, current_user=current_user, dataset_id=dataset_id, **given)
        name = (await _queue(db, dataset_id, current_user)).name
        return _named(DatasetSchema.model_validate(found), name) if name else found

    return answer


def _named(dataset: Any, name: str) -> Any:
    dataset.name = name
    return dataset


def _joined(endpoint: Endpoint) -> Endpoint:
    """Return a search that continues in the queue's next dataset where one ends."""

    @functools.wraps(endpoint)
    async def answer(*, db: Any, current_user: User, dataset_id: UUID, offset: int, limit: int, **given: Any) -> Any:
        queue, body = await _queue(db, dataset_id, current_user), given["body"]
        datasets = (queue.open or [dataset_id]) if _filters(body) >= PENDING else queue.datasets
        plain = _filters(body) == PENDING and not body.query and len(datasets) > 1
        totals = await pending.counts(db, datasets, current_user.id) if plain else {}
        items: list[Any] = []
        total, asked = 0, False
        for dataset in datasets:
            first, left = max(0, offset - total), limit - len(items)
            if dataset in totals and (totals[dataset] <= first or not left):  # spare the server a search
                total += totals[dataset]
                continue
            where = {"offset": first, "limit": left} if left else {"offset": BEYOND, "limit": 1}
            found = await endpoint(db=db, current_user=current_user, dataset_id=dataset, **where, **given)
            items += found.items
            total, asked = total + found.total, True
        if not asked:  # it checks whether the person may see the dataset
            await endpoint(db=db, current_user=current_user, dataset_id=dataset_id, offset=BEYOND, limit=1, **given)
        return SearchRecordsResult(items=items, total=total)

    return answer


def _filters(body: Any) -> set[tuple[str, ...]]:
    """Return the filters of a search as (entity, property, value …)."""
    parts = (body.filters and body.filters.and_) or []
    return {
        (part.scope.entity, getattr(part.scope, "property", None) or "", *map(str, getattr(part, "values", ("?",))))
        for part in parts
    }


def _own_progress(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that adds up a person's answers in a queue; only open datasets have pending records."""

    @functools.wraps(endpoint)
    async def answer(*, db: Any, current_user: User, dataset_id: UUID, **given: Any) -> Any:
        queue = await _queue(db, dataset_id, current_user)
        found = []
        for dataset in queue.datasets:
            one = await endpoint(db=db, current_user=current_user, dataset_id=dataset, **given)
            if dataset not in queue.open:
                one.responses.total -= one.responses.pending
                one.responses.pending = 0
            found.append(one)
        _add_up([one.responses for one in found])
        return found[0]

    return answer


def _team_progress(endpoint: Endpoint) -> Endpoint:
    @functools.wraps(endpoint)
    async def answer(*, db: Any, current_user: User, dataset_id: UUID, **given: Any) -> Any:
        queue = await _queue(db, dataset_id, current_user)
        found = [
            await endpoint(db=db, current_user=current_user, dataset_id=dataset, **given) for dataset in queue.datasets
        ]
        _add_up(found)
        return found[0]

    return answer


def _add_up(found: Sequence[Any]) -> None:
    """Add the numbers of all to those of the first."""
    whole = found[0]
    for part in found[1:]:
        for name, value in part:
            if isinstance(value, int):
                setattr(whole, name, getattr(whole, name) + value)


ENDPOINTS: list[tuple[str, str, Callable[[Endpoint], Endpoint]]] = [
    ("GET", "/me/datasets", _listed),
    ("GET", "/datasets/{dataset_id}", _renamed),
    ("POST", "/me/datasets/{dataset_id}/records/search", _joined),
    ("GET", "/me/datasets/{dataset_id}/metrics", _own_progress),
    ("GET", "/datasets/{dataset_id}/progress", _team_progress),
]
