"""Annotators' accounts on a server, and the invitations by which they learn of them.

Passwords are generated and lie in the invitation alone: one owner-only file per person, for the owner to hand over.
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
from labeling.server.home import Home, write_private

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,49}")
NAMES = "letters, digits, '_', '-' and '.', 50 at most, the first one a letter or digit"
SYLLABLES = [first + vowel for first in "bdfghjklmnprstvz" for vowel in "aeiou"]  # 80: 6.3 bits each


def add_annotators(connection: Connection, names: Sequence[str], workspace: str, home: Path) -> list[str]:
    """Let these people answer in a workspace, which is made if it is missing; returns those who had no account yet.

    Each of those gets a password and an invitation, `<home>/invitations/NAME.txt`. Nothing is created unless every name
    is possible. Raises `LabelingError`: a name that is not, a key that may not do this, a server that does not answer.
    """
    check_names(names)
    with session(connection) as client:
        accounts = {user["username"]: user for user in _items(client.get("/users"))}
        if wrong := [name for name in names if name in accounts and accounts[name]["role"] != "annotator"]:
            raise LabelingError(f"Not annotators on {connection.url}: {', '.join(wrong)}.", fault="request")
        place = _workspace(client, workspace)
        members = {user["id"] for user in _items(client.get(f"/workspaces/{place}/users"))}
        new = []
        for name in dict.fromkeys(names):
            if name not in accounts:
                password = _password()
                invite(
                    home, address(home, connection), name, password
                )  # first: a password that nobody knows is of no use
                accounts[name] = _create(client, name, password)
                new.append(name)
            if accounts[name]["id"] not in members:
                checked(client.post(f"/workspaces/{place}/users", json={"user_id": accounts[name]["id"]}))
        return new


def key_of(connection: Connection, name: str) -> Connection:
    """The same server with this person's own key, as its owner may read it.

    Raises `LabelingError` (request) if there is no such account.
    """
    with session(connection) as client:
        return Connection(connection.url, _account(client, connection, name)["api_key"], connection.certificate)


def reset(connection: Connection, name: str, home: Path) -> Path:
    """A new password for this person, and where the new invitation is; answers and key stay as they are."""
    password = _password()
    with session(connection) as client:
        account = _account(client, connection, name)
        checked(client.patch(f"/users/{account['id']}", json={"password": password}))
    return invite(home, address(home, connection), name, password)


def annotators(connection: Connection) -> list[dict[str, Any]]:
    """The annotators' accounts: `username`, `id`, and `workspaces`, the names of theirs."""
    with session(connection) as client:
        people = [user for user in _items(client.get("/users")) if user["role"] == "annotator"]
        members: dict[str, list[str]] = {}
        for place in _items(client.get("/me/workspaces")):
            for user in _items(client.get(f"/workspaces/{place['id']}/users")):
                members.setdefault(user["id"], []).append(place["name"])
        return [
            {"username": user["username"], "id": user["id"], "workspaces": members.get(user["id"], [])}
            for user in people
        ]


def check_names(names: Iterable[str]) -> None:
    """Raise `LabelingError` (request) listing all names that no account can have."""
    if wrong := [name for name in names if not NAME.fullmatch(name)]:
        raise LabelingError(f"Not possible as names: {', '.join(map(repr, wrong))}. Use {NAMES}.", fault="request")


def invite(home: Path, where: str, name: str, password: str) -> Path:
    """Write one person's invitation, and say where it is."""
    place = Home(home)
    place.make()
    place.invitations.mkdir(mode=0o700, exist_ok=True)
    file = place.invitations / f"{name}.txt"
    write_private(
        file,
        f"Address    {where}\nName       {name}\nPassword   {password}\n\n"
        "Open the address in a browser, sign in, and choose a data set. Its guidelines are behind the button\n"
        '"Guidelines". Rank the answers, best first; equal ones may share a place. Then press Submit. You can stop at\n'
        "any time: what you have submitted is kept.\n",
    )
    return file


@contextmanager
def session(connection: Connection) -> Iterator[httpx.Client]:
    """A client in whose block a server that does not answer, or answers something unheard of, is one clear message."""
    try:
        with connection.client() as client:
            yield client
    except httpx.HTTPError as error:
        raise LabelingError(
            f"Argilla at {connection.url} does not answer ({type(error).__name__}). Is it up? `labeling status` looks."
        ) from error


def checked(response: httpx.Response) -> Any:
    """The answer's JSON. Raises `LabelingError` with Argilla's own reason if it refused."""
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
    """The id of a workspace, made if it is missing."""
    for place in _items(client.get("/me/workspaces")):
        if place["name"] == name:
            return str(place["id"])
    return str(checked(client.post("/workspaces", json={"name": name}))["id"])


def _create(client: httpx.Client, name: str, password: str) -> Mapping[str, Any]:
    account = {"username": name, "first_name": name, "role": "annotator", "password": password}
    made: Mapping[str, Any] = checked(client.post("/users", json=account))
    return made


def _password() -> str:
    """Easy to read out, hard to guess: four groups of two syllables and a digit, 63 bits."""
    group = "{}{}{}".format
    return "-".join(
        group(secrets.choice(SYLLABLES), secrets.choice(SYLLABLES), secrets.randbelow(10)) for _ in range(4)
    )
