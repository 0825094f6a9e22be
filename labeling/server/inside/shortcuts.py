"""What Argilla does for every record and answer, and need not: half the work of taking an answer, most of a push.

`unheard_events`: for a webhook's sake it loads the whole dataset around each record and answer, even where there is no
webhook. `remembered_schemas`: it builds the schema of a question's or a metadata property's settings each time anew.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

Build = Callable[..., Awaitable[Any]]


class Unheard:
    """An event that no webhook waits for."""

    async def notify(self, session: Any) -> list[Any]:
        return []


def unheard_events() -> None:
    """Build the events of records and answers only where an enabled webhook is."""
    from argilla_server.webhooks.v1 import records, responses

    records.build_record_event = _if_heard(records.build_record_event)
    responses.build_response_event = _if_heard(responses.build_response_event)


def _if_heard(build: Build) -> Build:
    from argilla_server.contexts import webhooks

    @functools.wraps(build)
    async def built(session: Any, *of: Any) -> Any:
        heard = await webhooks.list_enabled_webhooks(session)
        return await build(session, *of) if heard else Unheard()

    return built


def remembered_schemas() -> None:
    from argilla_server.models import database

    database.TypeAdapter = functools.cache(database.TypeAdapter)


def uncompressed_here(app: Any) -> Any:
    """Spare programs on this machine (a key, no browser) the compression of what they read: most of a pull."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        here = scope["type"] == "http" and scope["client"] and scope["client"][0] in ("127.0.0.1", "::1")
        if here and any(name == b"x-argilla-api-key" for name, _ in scope["headers"]):
            plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            scope = {**scope, "headers": plain}
        await app(scope, receive, send)

    return answer
