"""Annotators see only their own answers: every endpoint is called with an annotator's key for data of others."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.argilla.page import CHECKSUM
from labeling.server import Connection
from labeling.server.accounts import checked
from tests.labeling.asking import Place, make

NOTHING = "00000000-0000-4000-8000-000000000000"
RECORD = {"fields": {"prompt": "x"}}
RATING = {"name": "new", "title": "new", "settings": {"type": "rating", "options": [{"value": 1}, {"value": 2}]}}
TEXT = {"name": "new", "title": "new", "settings": {"type": "text", "use_markdown": False}}
PENDING = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
HUB = {"name": "nobody/none", "subset": "default", "split": "train"}
DONE = {"status": "discarded", "values": {"comment": {"value": "mine"}}}
WEBHOOK = {"url": "http://127.0.0.1:9/", "events": ["response.created"]}
BODIES: Mapping[str, Any] = {
    "POST /datasets": {"name": "new", "workspace_id": "{workspace_id}"},
    "PATCH /datasets/{dataset_id}": {"name": "new"},
    "PUT /datasets/{dataset_id}/publish": None,
    "POST /datasets/{dataset_id}/import": {**HUB, "mapping": {"fields": [{"source": "a", "target": "b"}]}},
    "POST /datasets/{dataset_id}/export": {**HUB, "private": True, "token": "none"},
    "POST /datasets/{dataset_id}/fields": TEXT,
    "POST /datasets/{dataset_id}/questions": RATING,
    "POST /datasets/{dataset_id}/metadata-properties": {**TEXT, "settings": {"type": "terms"}},
    "POST /datasets/{dataset_id}/vectors-settings": {"name": "new", "title": "new", "dimensions": 2},
    "POST /datasets/{dataset_id}/records/bulk": {"items": [RECORD]},
    "PUT /datasets/{dataset_id}/records/bulk": {"items": [RECORD]},
    "POST /datasets/{dataset_id}/records/search": {},
    "POST /me/datasets/{dataset_id}/records/search": {"filters": {"and": [PENDING]}},
    "PATCH /fields/{field_id}": {"title": "new"},
    "PATCH /questions/{question_id}": {"title": "new"},
    "PATCH /metadata-properties/{metadata_property_id}": {"title": "new"},
    "PATCH /vectors-settings/{vector_settings_id}": {"title": "new"},
    "PATCH /records/{record_id}": {"metadata": {}},
    "POST /records/{record_id}/responses": DONE,
    "PUT /records/{record_id}/suggestions": {"question_id": "{question_id}", "value": "x"},
    "PUT /responses/{response_id}": DONE,
    "POST /me/responses/bulk": {"items": [{**DONE, "record_id": "{record_id}"}]},
    "POST /users": {"username": "new", "first_name": "new", "password": "12345678"},
    "PATCH /users/{user_id}": {"first_name": "new"},
    "POST /workspaces": {"name": "new"},
    "POST /workspaces/{workspace_id}/users": {"user_id": "{user_id}"},
    "POST /webhooks": WEBHOOK,
    "PATCH /webhooks/{webhook_id}": {"enabled": True},
    "POST /webhooks/{webhook_id}/ping": None,
    "POST /token": None,  # a form; its own test is in test_server_logins.py
}
"""Bodies for the endpoints that take one: enough to pass their validation."""


@dataclass
class Asked:
    """A dataset with three records that another person has submitted, discarded and saved as a draft."""

    url: str
    owner: httpx.Client
    curious: httpx.Client
    ids: dict[str, str]
    records: dict[str, str]
    secrets: list[str]  # others' names, ids and answers, and hidden metadata

    def send(self, client: httpx.Client, operation: str) -> httpx.Response:
        """Call one endpoint with all ids filled in and every include."""
        method, path = operation.split(" ")
        params = {"include": "responses,suggestions"} if "records" in path and "ids" not in path else {}
        if method == "DELETE" and path.endswith(("records", "suggestions")):
            params["ids"] = NOTHING
        body = BODIES.get(operation)
        filled = json.loads(self.fill(json.dumps(body))) if body is not None else None
        return client.request(method, self.fill(path), json=filled, params=params)

    def fill(self, text: str) -> str:
        for name, value in self.ids.items():
            text = text.replace(f"{{{name}}}", value)
        return text


@pytest.fixture(scope="module")
def asked(argilla_server: Connection, argilla_home: Path) -> Iterator[Asked]:
    place = Place(argilla_server, argilla_home)
    round_ = place.round(tasks=make(3), overlap=2)
    place.backend.publish(round_)
    with place.annotator("other", round_) as other:
        other.submit({"t0000": [4, 2, 3, 1]}, comments={"t0000": "the other one's comment"})
        other.discard({"t0001": "the other one's reason"})
        other.draft({"t0002": [1, 2, 3, 4]})
    key, name = place.key("curious"), round_.queues[0].name
    with place.connection.client() as owner, key.client() as curious:
        dataset = next(each for each in checked(owner.get("/me/datasets"))["items"] if each["name"] == name)
        rows = checked(owner.get(f"/datasets/{dataset['id']}/records?include=responses"))["items"]
        given = [row["responses"][0] for row in rows]
        ids = {part: checked(owner.get(f"{me}/datasets/{dataset['id']}/{part}"))["items"][0]["id"]
               for me, part in (("", "fields"), ("", "questions"), ("/me", "metadata-properties"))}  # fmt: skip
        webhook = checked(owner.post("/webhooks", json=WEBHOOK))["id"]
        yield Asked(
            argilla_server.url,
            owner,
            curious,
            {
                "dataset_id": dataset["id"],
                "workspace_id": dataset["workspace_id"],
                "field_id": ids["fields"],
                "question_id": ids["questions"],
                "metadata_property_id": ids["metadata-properties"],
                "record_id": rows[0]["id"],
                "response_id": given[0]["id"],
                "user_id": given[0]["user_id"],
                "webhook_id": webhook,
                "vector_settings_id": NOTHING,
                "suggestion_id": NOTHING,
                "job_id": NOTHING,
                "provider": "none",
            },
            {row["external_id"]: row["id"] for row in rows},
            [
                place.person("other"),
                given[0]["user_id"],
                *(each["id"] for each in given),
                "the other one's comment",
                "the other one's reason",
                *(row["metadata"][CHECKSUM] for row in rows),
            ],
        )
        checked(owner.delete(f"/webhooks/{webhook}"))


def found(asked: Asked, answer: httpx.Response, sent: str = "") -> list[str]:
    """Return the secrets in the answer that were not in the request."""
    return [secret for secret in asked.secrets if secret in answer.text and secret not in sent]


def test_no_endpoint_tells_an_annotator_of_the_others(asked: Asked) -> None:
    schema = httpx.get(f"{asked.url}/api/v1/openapi.json").json()
    operations = [f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods]
    # requests that change or delete come last, in case they are not refused
    operations.sort(key=lambda operation: ["GET", "POST", "PUT", "PATCH", "DELETE"].index(operation.split()[0]))
    assert len(operations) > 60
    unknown = [each for each in operations if each.split()[0] in ("POST", "PUT", "PATCH") and each not in BODIES]
    assert unknown == [], "give each a body that passes its checks"
    told, unasked = {}, []
    for operation in operations:
        answer = asked.send(asked.curious, operation)
        refused = answer.status_code in (401, 403, 404)
        if not refused and not answer.is_success and operation not in ("POST /token",):
            unasked.append(f"{operation}: {answer.status_code} {answer.text[:200]}")
        if secrets := found(asked, answer, asked.fill(operation)):
            told[operation] = secrets
    assert unasked == []
    assert told == {}


def test_the_walk_would_find_what_is_told(asked: Asked) -> None:
    """With the owner's key, the same requests reveal all of it."""
    seen = [
        asked.send(asked.owner, operation)
        for operation in ("GET /datasets/{dataset_id}/records", "GET /datasets/{dataset_id}/users/progress")
    ]
    assert {secret for answer in seen for secret in found(asked, answer)} == set(asked.secrets)
    record = asked.send(asked.owner, "GET /records/{record_id}").json()
    assert asked.ids["user_id"] in [each["user_id"] for each in record["responses"]]
    assert set(record["metadata"]) == {CHECKSUM}


def test_every_record_shows_an_annotator_their_own_answer_and_visible_metadata(asked: Asked) -> None:
    me = checked(asked.curious.get("/me"))["id"]
    for record in asked.records.values():
        asked.curious.post(f"/records/{record}/responses", json=DONE)
        answer = asked.curious.get(f"/records/{record}")
        assert [each["user_id"] for each in checked(answer)["responses"]] == [me]
        assert checked(answer)["metadata"] == {}
        assert found(asked, answer) == []
    progress = checked(asked.curious.get(asked.fill("/datasets/{dataset_id}/progress")))
    assert (progress["total"], progress["pending"]) == (3, 3)


@pytest.mark.parametrize("path", ["/records", "/datasets/{dataset_id}/progress", "/me/datasets"])
def test_bearer_tokens_are_treated_as_keys_are(asked: Asked, path: str, argilla_home: Path) -> None:
    name = checked(asked.curious.get("/me"))["username"]
    word = (argilla_home / "invitations" / f"{name}.txt").read_text().split("Password")[1].split()[0]
    token = checked(asked.curious.post("/token", data={"username": name, "password": word}))["access_token"]
    with httpx.Client(base_url=f"{asked.url}/api/v1", headers={"Authorization": f"Bearer {token}"}) as client:
        for record in asked.records.values():
            answer = client.get(f"/records/{record}" if path == "/records" else asked.fill(path))
            assert answer.status_code == 200
            assert found(asked, answer) == []


def test_hidden_metadata_can_be_neither_filtered_nor_sorted_by(asked: Asked) -> None:
    """Otherwise a search for each possible value would reveal it."""
    scope = {"entity": "metadata", "metadata_property": CHECKSUM}
    terms = {"filters": {"and": [{"type": "terms", "scope": scope, "values": [asked.secrets[-1]]}]}}
    ordered = {"sort": [{"scope": scope, "order": "asc"}]}
    none = {"filters": {"and": [{"type": "terms", "scope": {**scope, "metadata_property": "none"}, "values": ["x"]}]}}
    path = asked.fill("/me/datasets/{dataset_id}/records/search")
    absent = asked.curious.post(path, json=none)
    for query in (terms, ordered):
        assert checked(asked.owner.post(path, json=query))["total"]
        answer = asked.curious.post(path, json=query)
        assert (answer.status_code, absent.status_code) == (422, 422)
        assert answer.json()["detail"].replace(CHECKSUM, "none") == absent.json()["detail"]


def test_what_nobody_has_a_key_for_tells_nothing(asked: Asked) -> None:
    with httpx.Client(base_url=asked.url) as client:
        for path in ("/", "/api/v1/me", "/api/v1/me/datasets", "/api/v1/users", "/api/v1/status", "/api/v1/settings"):
            assert found(asked, client.get(path)) == []
