"""Builds events for webhooks only if a webhook is enabled.

Argilla loads the whole dataset for each event of a record or an answer, even without any webhook. Whether one is
enabled is cached, since only this process changes webhooks.
"""

import functools
from typing import Any
from uuid import UUID

from argilla_server.contexts import webhooks as stored
from argilla_server.models import Record, Response
from argilla_server.webhooks.v1 import records, responses
from argilla_server.webhooks.v1.enums import RecordEvent, ResponseEvent
from sqlalchemy.orm import selectinload


class Unheard:
    """An event without a webhook."""

    async def notify(self, session: Any) -> list[Any]:
        return []


_heard: bool | None = None  # whether a webhook is enabled; None: unknown


async def heard(session: Any) -> bool:
    global _heard
    if _heard is None:
        _heard = bool(await stored.list_enabled_webhooks(session))
    return _heard


def only_if_heard() -> None:
    """Make Argilla build no events of records and answers while no webhook is enabled."""
    for name in ("create_webhook", "update_webhook", "delete_webhook"):
        setattr(stored, name, _forgetting(getattr(stored, name)))
    for module, name in ((records, "build_record_event"), (responses, "build_response_event")):
        setattr(module, name, _if_heard(getattr(module, name)))


def _forgetting(change: Any) -> Any:
    @functools.wraps(change)
    async def changed(*arguments: Any) -> Any:
        global _heard
        try:
            return await change(*arguments)
        finally:
            _heard = None

    return changed


def _if_heard(build: Any) -> Any:
    @functools.wraps(build)
    async def built(session: Any, *of: Any) -> Any:
        return await build(session, *of) if await heard(session) else Unheard()

    return built


async def of_answer(session: Any, event: ResponseEvent, record_id: UUID, response_id: UUID) -> None:
    """Notify webhooks of an answer, and of its record, since the record's status may have changed."""
    if await heard(session):
        await of_record(session, record_id)
        response = await Response.get_or_raise(session, response_id)
        await responses.notify_response_event(session, event, response)


async def of_record(session: Any, record_id: UUID) -> None:
    if await heard(session):
        record = await Record.get_or_raise(session, record_id, options=[selectinload(Record.dataset)])
        await session.refresh(record, ["status"])  # it has changed in the database
        await records.notify_record_event(session, RecordEvent.updated, record)
        if record.is_completed():
            await records.notify_record_event(session, RecordEvent.completed, record)


async def of_deletion(session: Any, response: Response) -> Any:
    """Return the event for an answer before it is deleted."""
    return await responses.build_response_event(session, ResponseEvent.deleted, response)
