"""Writes an answer, its dataset's activity and its record's status in one transaction of the request's session.

Argilla writes answer and status in two transactions, the second one on a separate session, and loads the record with
its dataset and all its answers to count them. A server killed between the two leaves a record open that has all its
answers.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from argilla_server.api.policies.v1 import RecordPolicy, authorize
from argilla_server.api.routes import api_v1
from argilla_server.contexts import datasets, distribution
from argilla_server.enums import RecordStatus, ResponseStatus
from argilla_server.errors.future import NotFoundError, NotUniqueError
from argilla_server.models import Dataset, DatasetUser, Record, Response
from argilla_server.validators.responses import ResponseValidator
from argilla_server.webhooks.v1.enums import ResponseEvent
from fastapi.encoders import jsonable_encoder
from sqlalchemy.orm import selectinload

from . import events, known, opinions
from .leases import leases
from .routes import route

CREATE = ("POST", "/records/{record_id}/responses")
STATUS = "_update_record_status_with_overlap_strategy"  # Argilla's function for it

_RECORDS = Record.__table__
_MEMBERS = DatasetUser.__table__
_INSERT = Response.__table__.insert()
_RECORD = sa.select(_RECORDS.c.dataset_id, _RECORDS.c.status, _RECORDS.c.fields)
_RECORD = _RECORD.where(_RECORDS.c.id == sa.bindparam("record"))
_STATUS = _RECORDS.update().where(_RECORDS.c.id == sa.bindparam("record"))
_STATUS = _STATUS.values(status=sa.bindparam("new"), updated_at=sa.bindparam("now"))
_JOIN = _MEMBERS.insert().prefix_with("OR IGNORE")
_TOUCH = sa.text(f"{known.TOUCH} = :now WHERE id = :dataset").bindparams(
    sa.bindparam("now", type_=Dataset.last_activity_at.type), sa.bindparam("dataset", type_=Dataset.id.type)
)
_IS_SUBMITTED = (Response.record_id == sa.bindparam("record"), Response.status == ResponseStatus.submitted)
_COUNT = sa.select(sa.func.count()).where(*_IS_SUBMITTED)
_VALUES = sa.select(Response.values).where(*_IS_SUBMITTED)


@dataclass(frozen=True)
class Asked:
    """The parts of a record that the checks of an answer read."""

    id: UUID
    status: RecordStatus
    fields: dict[str, Any]
    dataset: known.Dataset


def take_in_one_transaction() -> None:
    """Replace Argilla's endpoint and functions with those of this module."""
    route(api_v1, *CREATE).dependant.call = create_record_response
    for function in (update_response, upsert_response, delete_response):
        setattr(datasets, function.__name__, function)
    setattr(distribution, STATUS, update_record_status)


async def update_record_status(db: Any, record: Record) -> Record:
    """Set the status of a record whose dataset and submitted answers are loaded: in bulks, and in Argilla's job."""
    most = (record.dataset.metadata_ or {}).get(opinions.MOST)
    submitted = [response.values for response in record.responses_submitted]
    complete = opinions.is_complete(submitted, record.dataset.distribution["min_submitted"], most)
    record.status = RecordStatus.completed if complete else RecordStatus.pending
    return await record.save(db, autocommit=False)


async def create_record_response(
    *, db: Any, search_engine: Any, record_id: UUID, response_create: Any, current_user: Any
) -> dict[str, Any]:
    record = await _asked(db, record_id)
    await authorize(current_user, RecordPolicy.create_response(record))
    ResponseValidator.validate(response_create, record)
    now = datetime.utcnow()
    row = {
        "id": uuid4(),
        "values": jsonable_encoder(response_create.values),
        "status": response_create.status,
        "record_id": record_id,
        "user_id": current_user.id,
        "inserted_at": now,
        "updated_at": now,
    }
    try:
        await db.execute(_INSERT, row)
    except sa.exc.IntegrityError:
        await db.rollback()  # at once, since other writers wait for it
        raise NotUniqueError(
            f"Response already exists for record with id `{record_id}` and by user with id `{current_user.id}`"
        ) from None
    await _settle(db, record, current_user.id)
    await events.of_answer(db, ResponseEvent.created, record_id, row["id"])
    return row


async def update_response(db: Any, search_engine: Any, response: Response, response_update: Any) -> Response:
    ResponseValidator.validate(response_update, response.record)
    changed = {"values": jsonable_encoder(response_update.values), "status": response_update.status}
    response = await response.update(db, **changed, replace_dict=True, autocommit=False)
    await db.flush()
    await _settle(db, await _asked(db, response.record_id), response.user_id)
    await events.of_answer(db, ResponseEvent.updated, response.record_id, response.id)
    return response


async def upsert_response(db: Any, search_engine: Any, record: Record, user: Any, response_upsert: Any) -> Response:
    ResponseValidator.validate(response_upsert, record)
    schema = {
        "values": jsonable_encoder(response_upsert.values),
        "status": response_upsert.status,
        "record_id": record.id,
        "user_id": user.id,
    }
    response = await Response.upsert(db, schema, [Response.record_id, Response.user_id], autocommit=False)
    await _settle(db, await _asked(db, record.id), user.id)
    new = response.inserted_at == response.updated_at
    await events.of_answer(db, ResponseEvent.created if new else ResponseEvent.updated, record.id, response.id)
    return response


async def delete_response(db: Any, search_engine: Any, response: Response) -> Response:
    deleted = await events.of_deletion(db, response)
    await response.delete(db, autocommit=False)
    await db.flush()
    await _settle(db, await _asked(db, response.record_id), response.user_id)
    await events.of_record(db, response.record_id)
    await deleted.notify(db)
    return response


async def _asked(db: Any, record_id: UUID) -> Asked:
    row = (await db.execute(_RECORD, {"record": record_id})).one_or_none()
    if row is None:
        raise NotFoundError(f"Record with id `{record_id}` not found")
    dataset = known.known.datasets.get(row.dataset_id)
    if dataset is None:
        dataset = known.known.datasets[row.dataset_id] = await _dataset(db, row.dataset_id)
    return Asked(record_id, row.status, row.fields, dataset)


async def _dataset(db: Any, dataset_id: UUID) -> known.Dataset:
    stored = await Dataset.get_or_raise(db, dataset_id, options=[selectinload(Dataset.questions)])
    questions = [known.Question(each.name, each.required, each.parsed_settings) for each in stored.questions]
    least, most = stored.distribution["min_submitted"], (stored.metadata_ or {}).get(opinions.MOST)
    return known.Dataset(stored.id, stored.workspace_id, least, most, questions)


async def _settle(db: Any, record: Asked, user_id: UUID) -> None:
    """Update activity, membership and status after an answer was written or deleted, then commit."""
    now, dataset = datetime.utcnow(), record.dataset.id
    await db.execute(_TOUCH, {"dataset": dataset, "now": now})
    if (dataset, user_id) not in known.known.answering:
        row = {"dataset_id": dataset, "user_id": user_id, "inserted_at": now, "updated_at": now}
        await db.execute(_JOIN, row)
    complete = await _is_complete(db, record)
    status = RecordStatus.completed if complete else RecordStatus.pending
    if status != record.status:
        await db.execute(_STATUS, {"record": record.id, "new": status, "now": now})
    await db.commit()
    known.known.answering.add((dataset, user_id))
    leases.end(user_id, dataset, record.id)


async def _is_complete(db: Any, record: Asked) -> bool:
    """Return whether a record needs no further answer; the answers are read only where that depends on them."""
    least, most = record.dataset.min_submitted, record.dataset.most_submitted
    if most is None:
        return bool(await db.scalar(_COUNT, {"record": record.id}) >= least)
    return opinions.is_complete(list(await db.scalars(_VALUES, {"record": record.id})), least, most)
