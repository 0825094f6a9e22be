"""An annotator's queue: the open records that the person has not answered, in one order for all.

Records with most answers come first, then the others in the order of publication, so prompts are complete early. One
that another annotator has just received counts as answered for a while (`leases`), so that three people do not answer a
record that needs two.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.enums import RecordStatus, ResponseStatusFilter
from argilla_server.models import Dataset, Record, Response
from argilla_server.search_engine import AndFilter, RecordFilterScope, ResponseFilterScope, TermsFilter

from .leases import leases

FAR = 1000  # records behind those that a page holds: no page asks for more from there
SUBMITTED = sa.literal_column("records.submitted", sa.Integer)  # see `database`
PUBLISHED = (Record.inserted_at, sa.literal_column("records.rowid"))
ORDER = (Record.status.desc(), SUBMITTED.desc(), *PUBLISHED)  # "pending" before "completed"; as an index of `database`

_OPEN = sa.select(Record.dataset_id, sa.func.count()).where(Record.status == RecordStatus.pending)
_OPEN = _OPEN.where(Record.dataset_id.in_(sa.bindparam("datasets", expanding=True))).group_by(Record.dataset_id)
_ANSWERED = sa.text(  # a cross join, so that SQLite reads the person's answers alone, not all open records
    """SELECT dataset_id, count(*) AS number FROM responses CROSS JOIN records ON records.id = responses.record_id
    WHERE responses.user_id = :person AND records.status = 'pending' GROUP BY dataset_id"""
)
_ANSWERED = _ANSWERED.bindparams(sa.bindparam("person", type_=Response.user_id.type))
_ANSWERED = _ANSWERED.columns(dataset_id=Record.dataset_id.type, number=sa.Integer)


def is_asked(filter: Any) -> bool:
    """Return whether a filter is for an annotator's queue: records that this person has not answered."""
    return any(_statuses(part, ResponseFilterScope, ResponseStatusFilter.pending) for part in _parts(filter))


def is_all_that_is_asked(filter: Any) -> bool:
    """Return whether a filter is for all of an annotator's queue, and for nothing but its open records."""
    parts = _parts(filter)
    scopes = (ResponseFilterScope, ResponseStatusFilter.pending), (RecordFilterScope, RecordStatus.pending)
    return len(parts) == 2 and all(
        any(_statuses(part, *scope) and len(part.values) == 1 for part in parts) for scope in scopes
    )


async def counts(db: Any, datasets: Sequence[UUID], person: UUID) -> dict[UUID, int]:
    """Return the number of open records without an answer of this person in each dataset."""
    found = dict.fromkeys(datasets, 0)
    for dataset, number in await db.execute(_OPEN, {"datasets": list(datasets)}):
        found[dataset] = number
    for dataset, number in await db.execute(_ANSWERED, {"person": person}):
        if dataset in found:
            found[dataset] -= number
    return found


async def page(
    db: Any, dataset: Dataset, where: Sequence[Any], search: str, person: UUID, offset: int, limit: int
) -> list[UUID]:
    """Return the ids of a page of a person's queue, and lease them.

    The queue is what the person's page holds, in the order in which the page received it, then the others in the order
    of the moment. The others follow without a gap, however far behind the page asks: it also counts what others have
    completed, and what the person has answered while the request was on its way.
    """
    queue = sa.select(Record.id, Record.status, SUBMITTED.label("submitted")).where(*where).order_by(*ORDER)
    async with leases.handing_out:
        held = leases.held(person, dataset.id, search, anew=offset == 0)
        if offset > len(held) + FAR:
            return list(await db.scalars(queue.offset(offset).limit(limit)))
        again = held[offset : offset + limit]
        if again:
            there = set(await db.scalars(sa.select(Record.id).where(*where, Record.id.in_(again))))
            again = [record for record in again if record in there]
        others = leases.of_others(person)
        enough = limit + len(held) + len(others)  # rows of which at most so many are held, or come last
        before = set(held)
        rows = [row for row in await db.execute(queue.limit(enough)) if row.id not in before]
        least = dataset.distribution["min_submitted"]
        rows.sort(key=lambda row: (row.status == RecordStatus.completed, _will_be_complete(row, others, least)))
        found = [*again, *(row.id for row in rows)][:limit]
        leases.give(person, dataset.id, found)
        return found


def _will_be_complete(row: Any, leased: dict[UUID, int], least: int) -> bool:
    """Return whether others complete a record with what they are looking at.

    An open record with `least` answers or more, whose annotators disagree, needs one answer more.
    """
    return bool(row.submitted + leased.get(row.id, 0) >= max(least, row.submitted + 1))


def _parts(filter: Any) -> Sequence[Any]:
    return filter.filters if isinstance(filter, AndFilter) else []


def _statuses(part: Any, scope: Any, status: Any) -> bool:
    """Return whether a part of a filter is for this status, among others."""
    of_status = isinstance(part, TermsFilter) and isinstance(part.scope, scope) and part.scope.property == "status"
    return of_status and status in part.values
