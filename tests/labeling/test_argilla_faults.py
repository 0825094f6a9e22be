"""Faults between this project and Argilla: one clear message each, with its cause, and no lost answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.client import Client
from labeling.argilla.submitting import Annotator, submit_rankings
from labeling.backend import LabelingError, Queue, Round
from labeling.server import Connection
from tests.labeling.asking import Place, make

RANKS = {"t0000": [1, 1, 3, 4]}


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


@contextmanager
def some_server(answers: dict[str, object]) -> Iterator[Connection]:
    """A server that is not our Argilla: it answers these paths with JSON (strings unchanged), all others with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Connection(f"http://127.0.0.1:{server.server_address[1]}", "some key")
        server.shutdown()


def refused(action: object, *arguments: object) -> LabelingError:
    with pytest.raises(LabelingError) as error:
        action(*arguments)  # type: ignore[operator]
    return error.value


def test_a_wrong_key_is_told_and_not_shown(place: Place) -> None:
    error = refused(ArgillaBackend(Connection(place.connection.url, "wrong-key")).publish, place.round())
    assert error.fault == "request"
    assert f"Argilla at {place.connection.url} does not know this API key" in str(error)
    assert "wrong-key" not in str(error)


def test_an_annotators_key_cannot_publish_or_collect(place: Place) -> None:
    asked = place.round()
    backend = ArgillaBackend(place.key("ann"))
    other = Round(f"{place.workspace}-new", asked.question, asked.guidelines, asked.queues)
    for error in (refused(backend.publish, asked), refused(backend.publish, other), refused(backend.answers, asked)):
        assert error.fault == "request"
        assert "Use an owner's key" in str(error)


def test_a_server_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeling.argilla.client.CONNECT_RETRIES", 0)
    with some_server({}) as gone:
        url = gone.url
    error = refused(Client, Connection(url, "key"))
    assert error.fault == "service"
    assert f"No Argilla answers at {url}" in str(error)
    assert "python -m labeling serve" in str(error)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:6900", "http://[::1"])
def test_what_is_no_url_is_told(url: str) -> None:
    assert refused(Client, Connection(url, "key")).fault == "request"


@pytest.mark.parametrize(
    "answers", [{}, {"/api/v1/me": "<html>hello</html>"}, {"/api/v1/me": {"user": 1}}, {"/api/v1/me": [1]}]
)
def test_what_is_no_argilla_is_told(answers: dict[str, object]) -> None:
    with some_server(answers) as connection:
        error = refused(Client, connection)
    assert error.fault == "request"
    assert f"The server at {connection.url} is not Argilla" in str(error)


def test_an_argilla_of_another_version_is_told(place: Place) -> None:
    me = place.owner.get("/me", "read")
    with some_server({"/api/v1/me": me, "/api/v1/version": {"version": "2.6.1"}}) as connection:
        error = refused(Client, connection)
    assert error.fault == "request"
    assert "runs Argilla 2.6.1, but the client here is 2.8.0" in str(error)
    with some_server({"/api/v1/me": me, "/api/v1/version": {"version": "2.8.7"}}) as connection:
        Client(connection).close()


def test_a_missing_workspace_and_dataset_are_told_when_answers_are_asked_for(place: Place) -> None:
    for name in (place.workspace, "no such workspace"):
        asked = Round(name, "ranking", "Rank them.", place.round().queues)
        error = refused(place.backend.answers, asked)
        assert error.fault == "request"
        assert f"no dataset '{asked.queues[0].name}' in a workspace '{name}'" in str(error)


@pytest.mark.parametrize("other", ["rating", "more responses"])
def test_a_dataset_with_other_questions_is_left_as_it_is(place: Place, other: str) -> None:
    asked = place.round()
    place.backend.publish(asked)
    place.annotator("ann", asked).submit(RANKS)
    before = place.backend.answers(asked)
    error = refused(
        place.backend.publish, place.round("rating") if other == "rating" else place.round(tasks=make(3, 5))
    )
    assert error.fault == "request"
    assert f"Dataset '{asked.queues[0].name}' at {place.connection.url} has other questions than this round" in str(
        error
    )
    assert place.backend.answers(asked) == before


def test_somebody_elses_dataset_of_that_name_is_left_as_it_is(place: Place) -> None:
    owner, name = place.owner, place.round().queues[0].name
    workspace = owner.post("/workspaces", "make", {"name": place.workspace})["id"]
    dataset = owner.post("/datasets", "make", {"name": name, "workspace_id": workspace, "guidelines": "theirs"})
    text = {"name": "text", "title": "Text", "required": True, "settings": {"type": "text"}}
    owner.post(f"/datasets/{dataset['id']}/fields", "make", text)
    asked = {"name": "mine", "title": "Mine", "required": True, "settings": {"type": "text"}}
    owner.post(f"/datasets/{dataset['id']}/questions", "make", asked)
    owner.put(f"/datasets/{dataset['id']}/publish", "open")
    error = refused(place.backend.publish, place.round())
    assert (error.fault, "has other fields than this round: text" in str(error)) == ("request", True)
    assert owner.get(f"/datasets/{dataset['id']}", "read")["guidelines"] == "theirs"
    error = refused(Annotator, place.key("ann"), name, place.workspace)
    assert "not this project's questions: mine" in str(error)


def test_the_same_id_with_another_content_is_refused_and_its_answers_stay(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    place.annotator("ann", asked).submit(RANKS)
    before = place.backend.answers(asked)
    swapped = make(3)
    swapped[0]["responses"].reverse()
    error = refused(place.backend.publish, place.round(tasks=swapped, overlap=2))
    assert error.fault == "request"
    assert "Record 't0000'" in str(error)
    assert place.backend.answers(asked) == before
    dataset = place.owner.dataset(place.owner.workspaces()[place.workspace], asked.queues[0].name)
    assert dataset is not None
    assert dataset["distribution"]["min_submitted"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidelines": "x" * 10_001}, "guidelines of 1 to 10,000 characters, but these have 10,001"),
        ({"guidelines": ""}, "but these have 0"),
        ({"queues": [Queue("x" * 201, make(1), 1)]}, "1 to 200 characters"),
        ({"queues": [Queue("q", make(1), 0)]}, "overlap must be at least 1"),
        ({"queues": [Queue("q", [*make(1), *make(1, 3)], 1)]}, "have [3, 4] responses"),
        ({"question": "pairwise"}, "pairwise questions are about 2 responses"),
    ],
)
def test_what_argilla_cannot_hold_is_refused_before_anything_is_sent(
    place: Place, change: dict[str, object], message: str
) -> None:
    asked = place.round()
    given = {"workspace": place.workspace, "question": "ranking", "guidelines": "Rank.", "queues": asked.queues}
    error = refused(place.backend.publish, Round(**(given | change)))  # type: ignore[arg-type]
    assert (error.fault, message in str(error)) == ("request", True)
    assert place.workspace not in place.owner.workspaces()


def test_a_prompt_that_is_too_long_for_argilla_names_its_task(place: Place) -> None:
    tasks = make(2)
    tasks[1]["prompt"] = [{"role": "user", "content": "long " * 5_000}]
    error = refused(place.backend.publish, place.round(tasks=tasks))
    assert (error.fault, "task 't0001'" in str(error)) == ("request", True)


def test_ranks_for_tasks_that_are_not_there_or_of_the_wrong_number_are_refused_whole(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    key, queue = place.key("ann"), asked.queues[0].name
    for ranks, message in (
        ({**RANKS, "t0099": [1, 2, 3, 4]}, "No such task in dataset"),
        ({**RANKS, "t0001": [1, 2]}, "has 4 answers, but the ranks are [1, 2]"),
    ):
        error = refused(submit_rankings, key, queue, place.workspace, ranks)
        assert (error.fault, message in str(error)) == ("request", True)
    assert place.backend.answers(asked) == []
    error = refused(submit_rankings, key, queue, place.workspace, {"t0000": [1, 2, 3, 9]})
    assert (error.fault, "refused 1 of 1 answers" in str(error)) == ("request", True)


def test_an_account_outside_the_workspace_is_told_what_to_do(place: Place) -> None:
    asked = place.round()
    place.backend.publish(asked)
    stranger = Place(place.connection, place.home).key("stranger")
    error = refused(submit_rankings, stranger, asked.queues[0].name, place.workspace, RANKS)
    assert (error.fault, "python -m labeling users add" in str(error)) == ("request", True)
