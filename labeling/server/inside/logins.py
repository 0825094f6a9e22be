"""Signing in: limits wrong passwords, and makes a new password invalidate older keys and tokens.

Argilla accepts any number of wrong passwords, checks each of them on the event loop (which blocks all requests for a
quarter of a second), and keeps keys and tokens valid after a change of the password.

A token contains a fingerprint of the account's password and key, so it becomes invalid with either of them, and no
list of tokens is stored. It always expires after a working day (`boot.TOKEN_SECONDS`).
"""

import asyncio
import functools
import hashlib
import hmac
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from argilla_server.api.routes import api_v1
from argilla_server.api.schemas.v1.oauth2 import Token
from argilla_server.contexts import accounts
from argilla_server.errors import UnauthorizedError
from argilla_server.models.database import generate_user_api_key
from argilla_server.security.authentication.db import BearerTokenAuthenticationBackend
from argilla_server.security.authentication.jwt import JWT
from argilla_server.security.authentication.userinfo import UserInfo
from fastapi import HTTPException, Request
from starlette.authentication import AuthCredentials

from .routes import route

TRIES, MINUTE = 5, 60.0
ENDPOINT = ("POST", "/token")
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="passwords")  # one, so that other requests keep a core


class Attempts:
    """Wrong passwords of the last minute, by name and address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[tuple[str, str], deque[float]] = {}

    def begin(self, who: tuple[str, str]) -> float:
        """Count one try, and return 0 if it is allowed, else the seconds to wait; `succeed` clears the count."""
        now = self._clock()
        for each in [each for each, times in self._of.items() if times[-1] <= now - MINUTE]:
            del self._of[each]
        times = self._of.setdefault(who, deque(maxlen=TRIES))
        if len(times) == TRIES and times[0] > now - MINUTE:
            return times[0] + MINUTE - now
        times.append(now)
        return 0.0

    def succeed(self, who: tuple[str, str]) -> None:
        self._of.pop(who, None)


attempts = Attempts()


def guard() -> None:
    """Replace Argilla's functions with those of this module."""
    dependant = route(api_v1, *ENDPOINT).dependant
    dependant.call, dependant.request_param_name = create_token, "request"
    accounts.generate_user_token = _token
    accounts.update_user = _with_a_new_key(accounts.update_user)
    BearerTokenAuthenticationBackend.authenticate = _by_token


async def create_token(*, request: Request, db: Any, username: str, password: str) -> Token:
    who = (username, request.client.host if request.client else "")
    if wait := attempts.begin(who):
        raise HTTPException(
            429,
            f"Too many wrong passwords for this name. Try again in {wait:.0f} seconds.",
            {"Retry-After": f"{wait:.0f}"},
        )
    user = await accounts.get_user_by_username(db, username)
    check = (accounts.verify_password, password, user.password_hash) if user else (accounts._dummy_verify,)
    if not (await asyncio.get_running_loop().run_in_executor(_THREAD, *check) and user):
        raise UnauthorizedError()
    attempts.succeed(who)
    return Token(access_token=_token(user))


def _token(user: Any) -> str:
    info = {"identity": str(user.id), "name": user.first_name, "username": user.username, "role": user.role}
    return str(JWT.create(UserInfo(**info, credentials=_fingerprint(user))))


def _fingerprint(user: Any) -> str:
    given = f"{user.id}\n{user.password_hash}\n{user.api_key}".encode()
    return hmac.new(JWT.secret.encode(), given, hashlib.sha256).hexdigest()


async def _by_token(self: Any, request: Request) -> tuple[AuthCredentials, UserInfo] | None:
    credentials = await self.scheme(request)
    if not credentials:
        return None
    told = _told(credentials.credentials)
    if told["exp"] <= time.time():
        raise UnauthorizedError("Invalid token")
    user = await accounts.get_user_by_username(request.state.db, told.get("username"))
    if user is None or not hmac.compare_digest(str(told.get("credentials")), _fingerprint(user)):
        return None
    return AuthCredentials(), UserInfo(username=user.username)


@functools.lru_cache(1024)
def _told(token: str) -> dict[str, Any]:
    """Return what a token says, with its signature checked once: half a millisecond of each request."""
    return dict(JWT.decode(token))


def _with_a_new_key(update: Any) -> Any:
    """Return an update that sets a new API key with a new password; an owner keeps the key of `secrets.json`."""

    async def update_user(db: Any, user: Any, user_attrs: dict[str, Any]) -> Any:
        if "password" in user_attrs and not user.is_owner:
            user_attrs = {"api_key": generate_user_api_key(), **user_attrs}
        return await update(db, user, user_attrs)

    return update_user
