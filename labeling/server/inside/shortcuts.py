"""Removes repeated work of Argilla for each request and record: most of the work of a small request.

`remembered_schemas`: Argilla rebuilds the schema of a question's or a metadata property's settings each time.
`remembered_people`: Argilla loads an account four times, with its workspaces, and its membership once more.
`credentials_read_once`: FastAPI reads a request's key and token before Argilla does, for the documentation alone.
`no_thread_for_telemetry`: Argilla gets the existing telemetry client through a thread before every page of a queue.
"""

import functools
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.api.routes import api_v1
from argilla_server.contexts import accounts
from argilla_server.models import User, WorkspaceUser
from argilla_server.security.authentication.db import APIKeyAuthenticationBackend
from argilla_server.security.authentication.provider import AuthenticationProvider
from argilla_server.security.authentication.userinfo import UserInfo
from argilla_server.security.settings import settings
from argilla_server.telemetry import get_telemetry_client
from fastapi.routing import APIRoute
from starlette.authentication import AuthCredentials

from .known import known
from .routes import route

SCHEMES = ("_api_key", "_bearer")  # arguments that Argilla's function does not use: its backends read them again

_NAME = sa.select(User.username).where(User.api_key == sa.bindparam("key"))
_PERSON = sa.select(User).where(User.username == sa.bindparam("name"))
_WORKSPACES = sa.select(WorkspaceUser.workspace_id).where(WorkspaceUser.user_id == sa.bindparam("user"))


def remembered_schemas() -> None:
    from argilla_server.models import database

    database.TypeAdapter = functools.cache(database.TypeAdapter)


def remembered_people() -> None:
    if settings.oauth.providers:
        return  # OAuth providers read an account's workspaces
    APIKeyAuthenticationBackend.authenticate = _by_key
    accounts.get_user_by_username = _by_name
    User.is_member = _is_member


def credentials_read_once() -> None:
    for each in api_v1.routes:
        if isinstance(each, APIRoute):
            _without_schemes(each.dependant)


def _without_schemes(dependant: Any) -> None:
    if getattr(dependant.call, "__func__", None) is AuthenticationProvider.get_current_user:
        dependant.dependencies = [part for part in dependant.dependencies if part.name not in SCHEMES]
    for part in dependant.dependencies:
        _without_schemes(part)


def no_thread_for_telemetry() -> None:
    async def client() -> Any:
        return get_telemetry_client()

    for each in route(api_v1, "POST", "/me/datasets/{dataset_id}/records/search").dependant.dependencies:
        if each.call is get_telemetry_client:
            each.call = client


async def _by_key(self: Any, request: Any) -> tuple[AuthCredentials, UserInfo] | None:
    key = await self.scheme(request)
    if not key:
        return None
    name = known.names.get(key)
    if name is None:
        name = await request.state.db.scalar(_NAME, {"key": key})
        if name is None:
            return None
        known.names[key] = name
    return AuthCredentials(), UserInfo(username=name)


async def _by_name(session: Any, username: str) -> User | None:
    person: User | None = known.people.get(username)
    if person is None:
        person = await session.scalar(_PERSON, {"name": username})
        if person is not None:
            workspaces = await session.scalars(_WORKSPACES, {"user": person.id})
            known.workspaces[person.id] = set(workspaces)
            session.expunge(person)
            known.people[username] = person
    return person


async def _is_member(self: Any, workspace_id: UUID) -> bool:
    return workspace_id in known.workspaces.get(self.id, ())
