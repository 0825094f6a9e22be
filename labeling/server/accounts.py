"""Creates and closes annotators' accounts on a server, and resets their passwords.

An account is never deleted, since Argilla would delete its answers too. The account of a removed annotator keeps its
answers under its name; it is in no workspace, has an unknown random password, and is marked as removed.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from labeling.backend import LabelingError
from labeling.server.connection import Connection, address
from labeling.server.invitations import invite, withdraw

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,49}")
NAMES = "letters, digits, '_', '-' and '.', 50 at most, the first one a letter or digit"
REMOVED = "(removed)"  # an account's last name
RESTORED = "(restored)"  # the last name of an account that was made for answers that are put back
SYLLABLES = [first + vowel for first in "bdfghjklmnprstvz" for vowel in "aeiou"]  # 80: 6.3 bits each


def add_annotators(
    connection: Connection, names: Sequence[str], workspace: str, home: Path, *, returning: bool = False
) -> list[str]:
    """Let these annotators answer in a workspace, which is created if missing; return the new names.

    Each new annotator gets a password and an invitation, `<home>/invitations/NAME.txt`; a removed one too, with
    `returning`. Nothing is created unless all names are valid. Raises `LabelingError` for an invalid name, a removed
    annotator without `returning`, a key without permission, and a server that does not answer.
    """
    check_names(names)
    with session(connection) as client:
        accounts = {user["username"]: user for user in _items(client.get("/users"))}
        if wrong := [name for name in names if name in accounts and accounts[name]["role"] != "annotator"]:
            raise LabelingError(f"Not annotators on {connection.url}: {', '.join(wrong)}.", fault="request")
        gone = [name for name in names if name in accounts and accounts[name]["last_name"] == REMOVED]
        if gone and not returning:
            raise LabelingError(
                f"Removed from {connection.url}: {', '.join(gone)}. Take them out of labeling.annotators, or let them "
                f"in again: python -m labeling users add {' '.join(gone)}",
                fault="request",
            )
        place = _workspace(client, workspace)
        members = {user["id"] for user in _items(client.get(f"/workspaces/{place}/users"))}
        uninvited = [*gone, *(name for name in names if accounts.get(name, {}).get("last_name") == RESTORED)]
        new = [name for name in dict.fromkeys(names) if name not in accounts or name in uninvited]
        for name in new:
            password = _password()
            # the invitation first: without it the password would be lost
            invite(home, address(home, connection), name, password)
            if name in uninvited:
                _change(client, accounts[name], password=password, last_name=None)
            else:
                accounts[name] = _create(client, name, password)
        for name in dict.fromkeys(names):
            if accounts[name]["id"] not in members:
                checked(client.post(f"/workspaces/{place}/users", json={"user_id": accounts[name]["id"]}))
        return new


def authors(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Return name -> id of the accounts that answers are put back under.

    A missing account is created without access: in no workspace, with an unknown password, until it is invited.
    """
    with session(connection) as client:
        found = {user["username"]: str(user["id"]) for user in _items(client.get("/users"))}
        for name in sorted(set(names) - set(found)):
            account = _create(client, name, _password())
            _change(client, account, last_name=RESTORED)
            found[name] = str(account["id"])
        return found


def key_of(connection: Connection, name: str) -> Connection:
    """Return a connection to the same server with this annotator's key, which an owner can read.

    Raises `LabelingError` (request) if the account does not exist.
    """
    with session(connection) as client:
        return Connection(connection.url, _account(client, connection, name)["api_key"], connection.certificate)


def reset(connection: Connection, name: str, home: Path) -> tuple[Path, bool]:
    """Set a new password and keep the answers; return the new invitation, and whether old keys and tokens are invalid.

    On this project's server they are invalid at once. A stock Argilla keeps the key, and its tokens for up to a day.
    Raises `LabelingError` (request) for a removed annotator, or an account that does not exist.
    """
    password = _password()
    with session(connection) as client:
        account = _account(client, connection, name)
        if account["last_name"] == REMOVED:
            raise LabelingError(
                f"{name!r} was removed. Let them in again: python -m labeling users add {name}", fault="request"
            )
        ended = _change(client, account, password=password)
    return invite(home, address(home, connection), name, password), ended


def remove(connection: Connection, name: str, home: Path) -> bool:
    """End an annotator's access and keep the answers; return whether old keys and tokens are invalid, as in `reset`.

    Raises `LabelingError` (request) for an account of another role, or one that does not exist.
    """
    with session(connection) as client:
        account = _account(client, connection, name)
        if account["role"] != "annotator":
            raise LabelingError(f"{name!r} is no annotator but {account['role']} of {connection.url}.", fault="request")
        ended = _change(client, account, password=_password(), last_name=REMOVED)
        for place in _items(client.get(f"/users/{account['id']}/workspaces")):
            checked(client.delete(f"/workspaces/{place['id']}/users/{account['id']}"))
    withdraw(home, name)
    return ended


def annotators(connection: Connection) -> list[dict[str, Any]]:
    """Return the annotators' accounts: `username`, `id`, `workspaces` (names), and whether the account is `removed`."""
    with session(connection) as client:
        people = [user for user in _items(client.get("/users")) if user["role"] == "annotator"]
        members: dict[str, list[str]] = {}
        for place in _items(client.get("/me/workspaces")):
            for user in _items(client.get(f"/workspaces/{place['id']}/users")):
                members.setdefault(user["id"], []).append(place["name"])
        return [
            {
                "username": user["username"],
                "id": user["id"],
                "workspaces": members.get(user["id"], []),
                "removed": user["last_name"] == REMOVED,
            }
            for user in people
        ]


def check_names(names: Iterable[str]) -> None:
    """Raise `LabelingError` (request) that lists all names that are not valid for an account."""
    if wrong := [name for name in names if not NAME.fullmatch(name)]:
        raise LabelingError(f"Not possible as names: {', '.join(map(repr, wrong))}. Use {NAMES}.", fault="request")


@contextmanager
def session(connection: Connection, timeout: float = 30.0) -> Iterator[httpx.Client]:
    """Yield an HTTP client. Raises `LabelingError` if the server does not answer inside the block."""
    try:
        with connection.client(timeout) as client:
            yield client
    except httpx.HTTPError as error:
        raise LabelingError(
            f"Argilla at {connection.url} does not answer ({type(error).__name__}). Is it up? `labeling status` looks."
        ) from error


def checked(response: httpx.Response) -> Any:
    """Return the response's JSON. Raises `LabelingError` with Argilla's reason if it refused the request."""
    if response.is_success:
        try:
            return response.json()
        except ValueError:
            raise LabelingError(f"What answers at {response.url.copy_with(path='/')} is no Argilla.") from None
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise LabelingError(
            f"Argilla at {response.url.copy_with(path='/')} refuses this API key: an owner's is needed.",
            fault="request",
        )
    raise LabelingError(f"Argilla refused {response.request.method} {response.url.path}: {detail}")


def _items(response: httpx.Response) -> list[Mapping[str, Any]]:
    items: list[Mapping[str, Any]] = checked(response)["items"]
    return items


def _account(client: httpx.Client, connection: Connection, name: str) -> Mapping[str, Any]:
    for user in _items(client.get("/users")):
        if user["username"] == name:
            return user
    raise LabelingError(
        f"There is no account {name!r} on {connection.url}. `labeling users list` shows all.", "request"
    )


def _workspace(client: httpx.Client, name: str) -> str:
    """Return the id of a workspace, which is created if missing."""
    for place in _items(client.get("/me/workspaces")):
        if place["name"] == name:
            return str(place["id"])
    return str(checked(client.post("/workspaces", json={"name": name}))["id"])


def _create(client: httpx.Client, name: str, password: str) -> Mapping[str, Any]:
    account = {"username": name, "first_name": name, "role": "annotator", "password": password}
    made: Mapping[str, Any] = checked(client.post("/users", json=account))
    return made


def _change(client: httpx.Client, account: Mapping[str, Any], **changes: str | None) -> bool:
    """Change an account; return whether its API key has changed too."""
    changed = checked(client.patch(f"/users/{account['id']}", json=changes))
    return bool(changed["api_key"] != account["api_key"])


def _password() -> str:
    """Return a random password that is easy to read aloud: four groups of two syllables and a digit, 63 bits."""
    group = "{}{}{}".format
    return "-".join(
        group(secrets.choice(SYLLABLES), secrets.choice(SYLLABLES), secrets.randbelow(10)) for _ in range(4)
    )
