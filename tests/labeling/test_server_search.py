"""The SQL search engine answers the requests of Argilla's page and client, and completes overlapping tasks early."""

import itertools
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from labeling.server import Connection
from labeling.server.accounts import add_annotators, checked, key_of

NUMBER = itertools.count()
WORDS = ["a red apple", "a green pear", "A RED CHERRY", "blå himmel", "100% sure_thing", "a pear and an apple"]
QUALITY = {"type": "rating", "options": [{"value": value} for value in range(1, 6)]}
LABEL = {"type": "label_selection", "options": [{"value": value, "text": value} for value in ("good", "bad")]}


class Place:
    """One dataset on the server, with the owner's client and a client for each annotator."""

    def __init__(self, owner: Connection, home: Path, people: Sequence[str], overlap: int) -> None:
        name = f"search{next(NUMBER)}"
        self.people = [f"{name}_{person}" for person in people]
        add_annotators(owner, self.people, name, home)
        self.owner = owner.client()
        self.clients = [key_of(owner, person).client() for person in self.people]
        workspace = next(place["id"] for place in self.get("/me/workspaces") if place["name"] == name)
        distribution = {"strategy": "overlap", "min_submitted": overlap}
        dataset = {"name": name, "workspace_id": workspace, "distribution": distribution}
        self.id = checked(self.owner.post("/datasets", json=dataset))["id"]
        self.add("fields", name="text", title="Text", required=True, settings={"type": "text", "use_markdown": False})
        self.add("fields", name="chat", title="Chat", settings={"type": "chat", "use_markdown": False})
        self.questions = {
            question: self.add(
                "questions", name=question, title=question, required=question == "quality", settings=settings
            )["id"]
            for question, settings in {"quality": QUALITY, "label": LABEL}.items()
        }
        for metadata, kind in {"topic": "terms", "size": "integer", "share": "float"}.items():
            self.add("metadata-properties", name=metadata, title=metadata, settings={"type": kind})
        vector = self.add("vectors-settings", name="vector", title="vector", dimensions=2)
        assert vector["dimensions"] == 2

    def close(self) -> None:
        for client in [self.owner, *self.clients]:
            client.close()

    def get(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = checked(self.owner.get(path))["items"]
        return items

    def add(self, part: str, **settings: Any) -> dict[str, Any]:
        made: dict[str, Any] = checked(self.owner.post(f"/datasets/{self.id}/{part}", json=settings))
        return made

    def publish(self, records: Sequence[Mapping[str, Any]]) -> None:
        checked(self.owner.put(f"/datasets/{self.id}/publish"))
        checked(self.owner.post(f"/datasets/{self.id}/records/bulk", json={"items": list(records)}))
        self.records = {
            record["external_id"]: record["id"] for record in self.get(f"/datasets/{self.id}/records?limit=1000")
        }

    def answer(self, person: int, record: str, status: str = "submitted", **values: Any) -> None:
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        checked(self.clients[person].post(f"/records/{self.records[record]}/responses", json=body))

    def found(self, person: int | None = None, limit: int = 100, offset: int = 0, **query: Any) -> list[str]:
        """Return external ids in order, as the owner, who sees all, or as one annotator."""
        if "filters" in query:
            query["filters"] = {"type": "and", "and": query["filters"]}
        client, me = (self.owner, "") if person is None else (self.clients[person], "/me")
        path, params = f"{me}/datasets/{self.id}/records/search", {"limit": limit, "offset": offset}
        answer = checked(client.post(path, json=query, params=params))
        ids = [item["record"]["external_id"] for item in answer["items"]]
        assert answer["total"] >= len(ids)
        if limit == 100 and not offset:
            assert answer["total"] == len(ids)
        return ids

    def queue(self, person: int, limit: int = 10) -> list[str]:
        """Return the external ids that Argilla's page gets for an annotator."""
        return self.found(person, limit, filters=[status("response", "pending"), status("record", "pending")])

    def progress(self) -> dict[str, int]:
        progress = checked(self.owner.get(f"/datasets/{self.id}/progress"))
        return {name: progress[name] for name in ("total", "completed", "pending")}


def terms(scope: Mapping[str, str], *values: str) -> dict[str, Any]:
    return {"type": "terms", "scope": scope, "values": list(values)}


def status(entity: str, *values: str) -> dict[str, Any]:
    return terms({"entity": entity, "property": "status"}, *values)


def metadata(name: str) -> dict[str, str]:
    return {"entity": "metadata", "metadata_property": name}


Make = Callable[..., Place]


@pytest.fixture
def make(argilla_server: Connection, argilla_home: Path) -> Iterator[Make]:
    """Creates a dataset: (people, overlap) -> place."""
    made: list[Place] = []

    def place(people: int = 2, overlap: int = 2) -> Place:
        made.append(Place(argilla_server, argilla_home, "abcdefgh"[:people], overlap))
        return made[-1]

    yield place
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def fruit(argilla_server: Connection, argilla_home: Path) -> Place:
    """Six records r0 … r5 with metadata, some with suggestions and answers; tests only read them."""
    place = Place(argilla_server, argilla_home, "ab", overlap=2)
    rows: list[dict[str, Any]] = [
        {"external_id": f"r{number}", "fields": {"text": text}, "metadata": {"size": number, "share": number / 4}}
        for number, text in enumerate(WORDS)
    ]
    rows[0]["metadata"]["topic"] = "fruit"
    rows[1]["metadata"]["topic"] = ["fruit", "green"]
    del rows[5]["metadata"]["size"]
    rows[2]["fields"]["chat"] = [{"role": "user", "content": "what is tart"}]
    rows[3]["suggestions"] = [
        {"question_id": place.questions["label"], "value": "good", "score": 0.9, "agent": "m1", "type": "model"}
    ]
    rows[4]["suggestions"] = [
        {"question_id": place.questions["label"], "value": "bad", "score": 0.2, "agent": "m2", "type": "model"}
    ]
    place.publish(rows)
    place.answer(0, "r0", quality=5, label="good")
    place.answer(1, "r0", quality=1)
    place.answer(0, "r1", status="draft", quality=3)
    place.answer(0, "r2", status="discarded")
    return place


def test_everything_is_found_in_the_order_in_which_it_was_published(fruit: Place) -> None:
    assert fruit.found() == [f"r{number}" for number in range(6)]
    assert fruit.found(0) == fruit.found(1) == fruit.found()
    assert fruit.found(limit=2, offset=3) == ["r3", "r4"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("apple", ["r0", "r5"]),
        ("APPLE", ["r0", "r5"]),
        ("red", ["r0", "r2"]),
        ("apple pear", ["r5"]),
        ('"an apple"', ["r5"]),
        ("a -pear red", ["r0", "r2"]),
        ("blå", ["r3"]),
        ("100% sure_", ["r4"]),
        ("sure.thing", []),
        ("tart", ["r2"]),
        ("user", []),
        ('an "unfinished', []),
        ("it's", []),
    ],
)
def test_text_is_found_in_any_field(fruit: Place, query: str, ids: list[str]) -> None:
    assert fruit.found(query={"text": {"q": query}}) == ids


def test_text_is_found_in_one_field(fruit: Place) -> None:
    assert fruit.found(query={"text": {"q": "tart", "field": "chat"}}) == ["r2"]
    assert fruit.found(query={"text": {"q": "tart", "field": "text"}}) == []


LABELED = {"entity": "suggestion", "question": "label", "property": "value"}
SCORED = {"entity": "suggestion", "question": "label", "property": "score"}
RATED = {"entity": "response", "question": "quality"}


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([terms(metadata("topic"), "fruit")], ["r0", "r1"]),
        ([terms(metadata("topic"), "green", "blue")], ["r1"]),
        ([terms(metadata("size"), "3")], ["r3"]),
        ([{"type": "range", "scope": metadata("size"), "ge": 2, "le": 3}], ["r2", "r3"]),
        ([{"type": "range", "scope": metadata("share"), "ge": 0.9}], ["r4", "r5"]),
        ([terms(LABELED, "good")], ["r3"]),
        ([{"type": "range", "scope": SCORED, "le": 0.5}], ["r4"]),
        ([terms({**SCORED, "property": "agent"}, "m1", "m2")], ["r3", "r4"]),
        ([terms({"entity": "response", "question": "label"}, "good")], ["r0"]),
        ([{"type": "range", "scope": RATED, "ge": 3}], ["r0", "r1"]),
        ([status("response", "submitted")], ["r0"]),
        ([status("response", "draft", "discarded")], ["r1", "r2"]),
        ([status("response", "pending")], ["r3", "r4", "r5"]),
        ([status("record", "completed")], ["r0"]),
        ([status("record", "pending"), terms(metadata("topic"), "fruit")], ["r1"]),
    ],
)
def test_filters_mean_what_they_say(fruit: Place, filters: list[dict[str, Any]], ids: list[str]) -> None:
    assert fruit.found(filters=filters) == ids


def test_an_annotator_filters_by_their_own_answers(fruit: Place) -> None:
    assert fruit.found(0, filters=[status("response", "submitted")]) == ["r0"]
    assert fruit.found(1, filters=[status("response", "draft")]) == []
    assert fruit.found(1, filters=[status("response", "pending")]) == ["r1", "r2", "r3", "r4", "r5"]
    assert sorted(fruit.found(0, filters=[status("response", "pending", "draft")])) == ["r1", "r3", "r4", "r5"]
    assert fruit.found(0, filters=[{"type": "range", "scope": RATED, "ge": 4}]) == ["r0"]
    assert fruit.found(1, filters=[{"type": "range", "scope": RATED, "ge": 4}]) == []


def test_the_page_shows_an_annotator_only_their_own_answers(fruit: Place) -> None:
    path = f"/me/datasets/{fruit.id}/records/search"
    answer = checked(fruit.clients[1].post(path, json={}, params={"include": "responses"}))
    given = {item["record"]["external_id"]: item["record"]["responses"] for item in answer["items"]}
    assert [len(given[f"r{number}"]) for number in range(6)] == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("scope", "rising"),
    [
        (metadata("size"), ["r0", "r1", "r2", "r3", "r4", "r5"]),
        ({"entity": "record", "property": "inserted_at"}, ["r0", "r1", "r2", "r3", "r4", "r5"]),
        (SCORED, ["r4", "r3", "r0", "r1", "r2", "r5"]),
        (RATED, ["r0", "r1", "r2", "r3", "r4", "r5"]),
    ],
)
def test_sorting_puts_what_has_no_value_last(fruit: Place, scope: Mapping[str, str], rising: list[str]) -> None:
    assert fruit.found(sort=[{"scope": scope, "order": "asc"}]) == rising
    falling = fruit.found(sort=[{"scope": scope, "order": "desc"}])
    if scope == metadata("size"):
        assert falling == ["r4", "r3", "r2", "r1", "r0", "r5"]
    if scope == SCORED:
        assert falling == ["r3", "r4", "r0", "r1", "r2", "r5"]


def test_an_annotator_sorts_by_their_own_answer(fruit: Place) -> None:
    assert fruit.found(0, sort=[{"scope": RATED, "order": "desc"}])[:2] == ["r0", "r1"]  # 5, 3
    assert fruit.found(None, sort=[{"scope": RATED, "order": "asc"}])[:2] == ["r0", "r1"]  # mean 3, 3


def test_metadata_metrics_count_terms_and_span_numbers(fruit: Place) -> None:
    properties = {each["name"]: each["id"] for each in fruit.get(f"/me/datasets/{fruit.id}/metadata-properties")}

    def metrics(name: str) -> Any:
        return checked(fruit.owner.get(f"/metadata-properties/{properties[name]}/metrics"))

    assert metrics("topic")["values"] == [{"term": "fruit", "count": 2}, {"term": "green", "count": 1}]
    assert metrics("topic")["total"] == 3
    assert (metrics("size")["min"], metrics("size")["max"]) == (0, 4)
    assert (metrics("share")["min"], metrics("share")["max"]) == (0, 1.25)


def test_progress_counts_records_and_each_persons_answers(fruit: Place) -> None:
    assert fruit.progress() == {"total": 6, "completed": 1, "pending": 5}
    mine = checked(fruit.clients[0].get(f"/me/datasets/{fruit.id}/metrics"))["responses"]
    assert mine == {"total": 6, "submitted": 1, "discarded": 1, "draft": 1, "pending": 3}


def test_similarity_search_is_refused_in_words(fruit: Place) -> None:
    query = {"query": {"vector": {"name": "vector", "value": [0.0, 1.0]}}}
    answer = fruit.owner.post(f"/datasets/{fruit.id}/records/search", json=query)
    assert answer.status_code == 422
    assert "no similarity search" in answer.json()["detail"]


def test_a_draft_dataset_has_no_progress(make: Make) -> None:
    assert make().progress() == {"total": 0, "completed": 0, "pending": 0}


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"external_id": f"r{number:02}", "fields": {"text": f"text {number}"}} for number in range(count)]


def test_what_has_its_answers_leaves_everybodys_queue(make: Make) -> None:
    place = make(people=3, overlap=2)
    place.publish(numbered(3))
    place.answer(0, "r01", quality=1)
    assert "r01" in place.queue(1)
    place.answer(1, "r01", quality=1)
    assert place.queue(2) == ["r00", "r02"]
    assert place.queue(0) == ["r00", "r02"]


def test_begun_records_come_first_so_that_prompts_are_complete_early(make: Make) -> None:
    place = make(people=3, overlap=3)
    place.publish(numbered(6))
    for person, record in ((0, "r04"), (1, "r04"), (0, "r02")):
        place.answer(person, record, quality=1)
    assert place.queue(2) == ["r04", "r02", "r00", "r01", "r03", "r05"]
    place.answer(2, "r05", status="draft", quality=1)  # a draft does not count as an answer
    assert place.queue(1)[:2] == ["r02", "r00"]


def test_the_number_of_answers_in_the_queues_order_is_right_however_they_come_and_go(
    make: Make, argilla_home: Path
) -> None:
    place, draw = make(people=3, overlap=4), random.Random(0)
    place.publish(numbered(4))
    given: dict[tuple[int, str], str] = {}
    for _ in range(60):
        person, record = key = draw.randrange(3), draw.choice(sorted(place.records.values()))
        client, answer = place.clients[person], {"values": {"quality": {"value": draw.randint(1, 5)}}}
        answer["status"] = draw.choice(["submitted", "submitted", "discarded", "draft"])
        way = draw.choice(["one", "bulk"] if key not in given else ["changed", "bulk", "deleted"])
        if way == "one":
            given[key] = checked(client.post(f"/records/{record}/responses", json=answer))["id"]
        elif way == "bulk":
            sent = client.post("/me/responses/bulk", json={"items": [{**answer, "record_id": record}]})
            given[key] = checked(sent)["items"][0]["item"]["id"]
        elif way == "changed":
            checked(client.put(f"/responses/{given[key]}", json=answer))
        else:
            checked(client.delete(f"/responses/{given.pop(key)}"))
    numbers = "SELECT id, submitted FROM records WHERE dataset_id = ?"
    counted = """SELECT records.id, count(responses.id) FROM records LEFT JOIN responses ON record_id = records.id
        AND responses.status = 'submitted' WHERE dataset_id = ? GROUP BY records.id"""
    with sqlite3.connect(argilla_home / "argilla.db") as database:
        found, expected = (dict(database.execute(query, [UUID(place.id).hex])) for query in (numbers, counted))
    assert found == expected
    assert len(set(found.values())) > 1


def test_people_at_work_at_once_share_the_work_and_nobody_answers_in_vain(make: Make) -> None:
    place = make(people=5, overlap=2)
    place.publish(numbered(40))
    pages = [place.queue(person) for person in range(5)]
    assert pages[0] == pages[1] == [f"r{number:02}" for number in range(10)]
    assert pages[2] == pages[3] == [f"r{number:02}" for number in range(10, 20)]
    assert pages[4] == [f"r{number:02}" for number in range(20, 30)]
    for person, page in enumerate(pages):
        for record in page:
            place.answer(person, record, quality=1)
    assert place.progress()["completed"] == 20
    assert place.queue(0)[:10] == pages[4]  # records that one person has answered come next


def test_what_is_in_other_hands_is_left_when_nothing_else_is(make: Make) -> None:
    place = make(people=2, overlap=1)
    place.publish(numbered(3))
    assert place.queue(0) == place.queue(1) == ["r00", "r01", "r02"]


def test_a_changed_overlap_is_applied_to_the_answers_that_are_there(make: Make) -> None:
    place = make(people=2, overlap=2)
    place.publish(numbered(3))
    place.answer(0, "r00", quality=1)
    change = {"distribution": {"strategy": "overlap", "min_submitted": 1}}
    checked(place.owner.patch(f"/datasets/{place.id}", json=change))
    deadline = time.monotonic() + 20
    while place.progress()["completed"] != 1 and time.monotonic() < deadline:  # by a job
        time.sleep(0.05)
    assert place.progress() == {"total": 3, "completed": 1, "pending": 2}


def test_a_transfer_to_the_hub_is_a_job_whose_status_can_be_asked(make: Make) -> None:
    place = make()
    place.publish(numbered(1))
    body = {"name": "nobody/none", "subset": "default", "split": "train", "private": True, "token": "none"}
    job = checked(place.owner.post(f"/datasets/{place.id}/export", json=body))
    assert checked(place.owner.get(f"/jobs/{job['id']}"))["id"] == job["id"]
    assert place.owner.get("/jobs/none").status_code == httpx.codes.NOT_FOUND


def test_a_webhook_hears_of_an_answer_and_may_call_back(make: Make) -> None:
    place, heard = make(overlap=1), []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            total = place.progress()["total"]  # a request to the server, which waits for the end of this call
            heard.append((body["type"], total))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listener.server_port}/"
        events = ["response.created", "record.completed"]
        webhook = checked(place.owner.post("/webhooks", json={"url": url, "events": events}))
        try:
            place.publish(numbered(2))
            place.answer(0, "r00", quality=1)
            deadline = time.monotonic() + 20
            while len(heard) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            checked(place.owner.delete(f"/webhooks/{webhook['id']}"))
            listener.shutdown()
    assert sorted(heard) == [("record.completed", 2), ("response.created", 2)]
