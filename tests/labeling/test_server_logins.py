"""Signing in: wrong passwords are counted, tokens become invalid, and other requests do not wait."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.server import Connection
from labeling.server.accounts import add_annotators
from labeling.server.invitations import invite, readdress
from tests.conftest import until


def sign_in(server: Connection, name: str, word: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/api/v1/token", data={"username": name, "password": word}, headers=headers, timeout=60
    )


@pytest.fixture
def word(argilla_server: Connection, argilla_home: Path, request: pytest.FixtureRequest) -> str:
    """The password of an account `guessed` with its count of wrong tries cleared."""
    add_annotators(argilla_server, ["guessed", "other"], "work", argilla_home)
    return (argilla_home / "invitations" / "guessed.txt").read_text().split("Password")[1].split()[0]


def test_the_sixth_wrong_password_in_a_minute_is_not_even_looked_at(argilla_server: Connection, word: str) -> None:
    statuses = [sign_in(argilla_server, "guessed", f"wrong{number}").status_code for number in range(5)]
    assert statuses == [401] * 5
    # another claimed address does not help, and neither does the right password
    for given, headers in (("wrong", {}), ("wrong", {"X-Forwarded-For": "10.0.0.9"}), (word, {})):
        refused = sign_in(argilla_server, "guessed", given, **headers)
        assert refused.status_code == 429
        assert "Too many wrong passwords" in refused.json()["detail"]
        assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert sign_in(argilla_server, "other", "wrong").status_code == 401  # another name has its own count
    statuses = [sign_in(argilla_server, "nobody_of_this_name", "wrong").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]  # so the status does not reveal which names exist


def test_a_token_ends_after_a_working_day(argilla_server: Connection, argilla_home: Path) -> None:
    add_annotators(argilla_server, ["worker"], "work", argilla_home)
    text = (argilla_home / "invitations" / "worker.txt").read_text()
    token = sign_in(argilla_server, "worker", text.split("Password")[1].split()[0]).json()["access_token"]
    told = json.loads(decoded(token.split(".")[1]))
    assert 11.9 < (told["exp"] - time.time()) / 3600 <= 12
    assert set(told) == {"identity", "name", "username", "role", "exp", "credentials"}
    forged = token.rsplit(".", 1)[0] + "." + encoded(b"x" * 32)
    for given in (forged, token[:-2], "none"):
        answer = httpx.get(f"{argilla_server.url}/api/v1/me", headers={"Authorization": f"Bearer {given}"})
        assert answer.status_code == 401
    secret = json.loads((argilla_home / "secrets.json").read_text())["auth"]
    ending = signed({**told, "exp": int(time.time()) + 3}, secret)
    asked = {"url": f"{argilla_server.url}/api/v1/me", "headers": {"Authorization": f"Bearer {ending}"}}
    assert httpx.get(**asked).status_code == 200
    until(lambda: httpx.get(**asked).status_code == 401, "the token does not end")
    assert time.time() >= json.loads(decoded(ending.split(".")[1]))["exp"]


def signed(claims: dict[str, Any], secret: str) -> str:
    """Return a token as the server makes it."""
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join([*parts, encoded(hmac.digest(secret.encode(), ".".join(parts).encode(), "sha256"))])


def encoded(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).decode().rstrip("=")


def decoded(given: str) -> bytes:
    return base64.urlsafe_b64decode(given + "==")


def test_invitations_follow_their_server_and_no_other(tmp_path: Path) -> None:
    old, new = "http://127.0.0.1:6900", "http://127.0.0.1:6917"
    here, elsewhere = invite(tmp_path, old, "here", "word-1"), invite(tmp_path, "https://team.example", "far", "word-2")
    before = here.read_text(), elsewhere.read_text()
    assert readdress(tmp_path, old, new) == 1
    assert here.read_text() == before[0].replace(old, new)
    assert elsewhere.read_text() == before[1]
    assert here.stat().st_mode & 0o777 == 0o600
    assert readdress(tmp_path, new, new) == 0
