"""Many people work at once: requests do not wait for others' connections, and no answer is lost or stored twice."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from benchmarks.labeling_server import PENDING
from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Queue, Round
from labeling.questions import raw_values
from labeling.server import Connection, accounts
from labeling.server.accounts import checked
from tests.labeling.asking import Place, make

PEOPLE, OVERLAP = 20, 5  # more than the 15 connections of Argilla's pool


def work(connection: Connection, dataset: str, seconds: float, begin: threading.Barrier) -> tuple[list[float], int]:
    """Request pages and submit without pause; return the seconds of each request and the number of accepted answers."""
    times, accepted = [], 0
    with connection.client(timeout=60) as client:
        begin.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            page = client.post(f"/me/datasets/{dataset}/records/search?limit=10", json=PENDING)
            times.append(page.elapsed.total_seconds())
            for item in checked(page)["items"]:
                body = {"status": "submitted", "values": raw_values("ranking", [1, 2, 3, 4])}
                answer = client.post(f"/records/{item['record']['id']}/responses", json=body)
                times.append(answer.elapsed.total_seconds())
                accepted += bool(checked(answer))
                if time.monotonic() > end:
                    break
    return times, accepted


@pytest.fixture(scope="module")
def dataset(argilla_server: Connection, argilla_home: Path) -> tuple[Round, str, list[Connection]]:
    asked = Round("load", "ranking", "Rank.", [Queue("load", make(400, words=20), overlap=OVERLAP)])
    ArgillaBackend(argilla_server, home=argilla_home).publish(asked)
    names = [f"load{number}" for number in range(PEOPLE)]
    accounts.add_annotators(argilla_server, names, "load", argilla_home)
    with argilla_server.client() as client:
        found = next(each for each in checked(client.get("/me/datasets"))["items"] if each["name"] == "load")
        keys = {user["username"]: user["api_key"] for user in checked(client.get("/users"))["items"]}
    return asked, found["id"], [Connection(argilla_server.url, keys[name]) for name in names]


def test_twenty_at_once_are_answered_without_a_fault_and_nothing_is_lost_or_doubled(
    dataset: tuple[Round, str, list[Connection]], argilla_server: Connection, argilla_home: Path
) -> None:
    asked, found, people = dataset
    begin = threading.Barrier(PEOPLE)
    with ThreadPoolExecutor(PEOPLE) as pool:
        jobs = [pool.submit(work, person, found, 5.0, begin) for person in people]
        done = [job.result() for job in jobs]
    answers = ArgillaBackend(argilla_server, home=argilla_home).answers(asked)
    kept = Counter(answer["annotator"] for answer in answers)
    assert kept == Counter({f"load{number}": accepted for number, (_, accepted) in enumerate(done) if accepted})
    given = Counter(answer["task"] for answer in answers)
    assert max(given.values()) <= OVERLAP
    assert len({(answer["task"], answer["annotator"]) for answer in answers}) == len(answers)
    with argilla_server.client() as client:
        progress = checked(client.get(f"/datasets/{found}/progress"))
    assert progress["completed"] == sum(count >= OVERLAP for count in given.values())
    # no limit on time, since the load of this machine is unknown (`benchmarks/labeling_server.py` measures it)
    assert all(times for times, _ in done)


def test_a_page_that_asks_for_fifteen_things_at_once_gets_them_all(
    dataset: tuple[Round, str, list[Connection]],
) -> None:
    """A browser does the same: sixteen of these waited for each other's connections for 30 s, and got 500."""
    _, found, people = dataset
    paths = [f"/datasets/{found}/progress", f"/me/datasets/{found}/metrics", f"/datasets/{found}/questions"]

    def ask(connection: Connection) -> list[int]:
        def one(number: int) -> int:
            if number % 3:
                return client.get(paths[number % len(paths)]).status_code
            return client.post(f"/me/datasets/{found}/records/search?limit=10", json=PENDING).status_code

        with connection.client(timeout=60) as client, ThreadPoolExecutor(15) as pool:
            return list(pool.map(one, range(15)))

    with ThreadPoolExecutor(16) as pool:
        assert {status for statuses in pool.map(ask, people[:16]) for status in statuses} == {200}


def test_a_response_twice_is_refused_and_blocks_nobody(
    dataset: tuple[Round, str, list[Connection]], argilla_server: Connection
) -> None:
    _, found, people = dataset
    with argilla_server.client() as owner, people[0].client() as one, people[1].client() as two:
        record = checked(owner.get(f"/datasets/{found}/records?limit=1&offset=399"))["items"][0]["id"]
        body = {"status": "draft", "values": raw_values("ranking", [1, 2, 3, 4])}
        checked(one.post(f"/records/{record}/responses", json=body))
        again = one.post(f"/records/{record}/responses", json=body)
        assert again.status_code == httpx.codes.CONFLICT
        assert "already exists" in again.json()["detail"]
        start = time.monotonic()
        checked(two.post(f"/records/{record}/responses", json=body))
        assert time.monotonic() - start < 10  # SQLite would wait 15 s for a writer that has not finished


def test_several_browsers_open_their_queues_at_once_and_each_shows_a_record(
    argilla_server: Connection, argilla_home: Path
) -> None:
    """Each sends about fifteen requests at once; manual measurements use sixteen browsers."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e .[test]")
    from tests.labeling.browser import CHROMIUM, QUIET, AnnotatorPage

    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    place = Place(argilla_server, argilla_home)
    asked = place.round(tasks=make(10), overlap=2)
    place.backend.publish(asked)
    names = [place.person(f"p{number}") for number in range(4)]
    place.backend.add_annotators(names, place.workspace)
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        pages = [browser.new_context().new_page() for _ in names]
        for page, name in zip(pages, names, strict=True):
            page.set_default_timeout(60_000)
            page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
            invitation = (argilla_home / "invitations" / f"{name}.txt").read_text()
            AnnotatorPage(page, argilla_server.url).sign_in(name, invitation.split("Password")[1].split()[0])
            AnnotatorPage(page, argilla_server.url).open(place.workspace)
        for page in pages:
            page.reload(wait_until="commit")
        for page in pages:
            page.wait_for_selector(".questions-form")
        browser.close()
    assert faults == []
