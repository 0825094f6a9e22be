"""An annotator's page shows one queue per project: its open datasets as one, closed rounds not at all."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from labeling.backend import Queue, Round
from labeling.server import Connection
from labeling.server.accounts import checked
from tests.labeling.asking import Place, make
from tests.labeling.conftest import SessionServer
from tests.labeling.screen import PENDING, Screen, searched

SUBMITTED = {"filters": {"and": [{**PENDING["filters"]["and"][0], "values": ["submitted"]}]}}
DONE = {"status": "submitted", "values": {"ranking": {"value": [{"value": v, "rank": 1} for v in "ABCD"]}}}


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


@pytest.fixture
def page(place: Place) -> Iterator[httpx.Client]:
    """The requests of an annotator's page: they have a token and no API key."""
    with page_of(place, "ann") as client:
        yield client


@contextmanager
def page_of(place: Place, name: str) -> Iterator[httpx.Client]:
    place.backend.add_annotators([place.person(name)], place.workspace)
    password = (place.home / "invitations" / f"{place.person(name)}.txt").read_text().split("Password")[1].split()[0]
    with httpx.Client(base_url=f"{place.connection.url}/api/v1", timeout=30) as client:
        token = checked(client.post("/token", data={"username": place.person(name), "password": password}))
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield client


def published(place: Place, name: str, *, everybody: int, others: int, guidelines: str = "Rank them.") -> Round:
    tasks = [{**task, "id": f"{name}-{task['id']}"} for task in make(everybody + others)]
    queues = [
        Queue(f"{place.workspace}-{name}-calibration", tasks[:everybody], 2),  # type: ignore[arg-type]
        Queue(f"{place.workspace}-{name}", tasks[everybody:], 1),  # type: ignore[arg-type]
    ]
    asked = Round(place.workspace, "ranking", guidelines, [queue for queue in queues if queue.tasks])
    place.backend.publish(asked)
    return asked


def listed(page: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = checked(page.get("/me/datasets"))["items"]
    return items


def test_the_page_shows_one_queue_under_the_projects_name(place: Place, page: httpx.Client) -> None:
    published(place, "one", everybody=3, others=5)
    published(place, "two", everybody=2, others=15)
    (queue,) = listed(page)
    assert queue["name"] == place.workspace
    assert checked(page.get(f"/datasets/{queue['id']}"))["name"] == place.workspace
    expected = ["one-t0000", "one-t0001", "one-t0002", *(f"one-t{number:04}" for number in range(3, 8))]
    expected += [f"two-t{number:04}" for number in range(17)]
    whole, total = searched(page, queue["id"], limit=50)
    assert ([record["external_id"] for record in whole], total) == (expected, 25)
    paged = [record for start in range(0, 30, 4) for record in searched(page, queue["id"], 4, start)[0]]
    assert [record["external_id"] for record in paged] == expected


def test_own_progress_and_the_teams_are_those_of_the_whole_queue(place: Place, page: httpx.Client) -> None:
    asked = published(place, "one", everybody=2, others=3)
    (queue,) = listed(page)
    with place.annotator("bob", asked) as bob:
        bob.submit({"one-t0000": [1, 2, 3, 4]})
    for record in searched(page, queue["id"])[0][:3]:  # both for everybody, and one of the others
        checked(page.post(f"/records/{record['id']}/responses", json=DONE))
    with place.annotator("bob", asked) as bob:
        bob.submit({"one-t0001": [1, 2, 3, 4]})  # closes the part for everybody
    (queue,) = listed(page)
    own = checked(page.get(f"/me/datasets/{queue['id']}/metrics"))["responses"]
    assert own == {"total": 5, "submitted": 3, "discarded": 0, "draft": 0, "pending": 2}
    team = checked(page.get(f"/datasets/{queue['id']}/progress"))
    assert (team["total"], team["completed"], team["pending"]) == (5, 3, 2)
    mine = checked(page.post(f"/me/datasets/{queue['id']}/records/search", json=SUBMITTED))
    assert [item["record"]["external_id"] for item in mine["items"]] == ["one-t0000", "one-t0001", "one-t0002"]


def test_a_closed_round_is_out_of_sight_and_an_open_page_goes_on_with_the_rest(
    place: Place, page: httpx.Client
) -> None:
    published(place, "one", everybody=0, others=2)
    (before,) = listed(page)
    for record in searched(page, before["id"])[0]:
        checked(page.post(f"/records/{record['id']}/responses", json=DONE))
    assert listed(page) == []
    published(place, "two", everybody=0, others=3)
    (after,) = listed(page)
    assert (after["name"], searched(page, after["id"])[1]) == (place.workspace, 3)
    assert searched(page, before["id"])[1] == 3  # the page that was left open


def test_other_guidelines_and_other_questions_are_a_queue_of_their_own(place: Place, page: httpx.Client) -> None:
    published(place, "one", everybody=0, others=2)
    published(place, "two", everybody=0, others=2, guidelines="Rank them otherwise.")
    place.backend.publish(place.round("review", make(1, 1), name="drafts"))
    names = {each["name"]: searched(page, each["id"])[1] for each in listed(page)}
    assert names == {place.workspace: 2, f"{place.workspace} 2": 2, f"{place.workspace}: drafts": 1}


def test_programs_and_owners_see_every_dataset_as_it_is(place: Place, page: httpx.Client) -> None:
    asked = published(place, "one", everybody=2, others=3)
    names = {queue.name for queue in asked.queues}
    with place.key("ann").client() as client, place.connection.client() as owner:
        assert {each["name"] for each in listed(client)} == names
        mine = [each for each in listed(owner) if each["name"] in names]
        assert len(mine) == 2
        for who in (client, owner):
            assert sorted(searched(who, each["id"])[1] for each in mine) == [2, 3]


def test_a_record_that_is_shown_to_one_person_comes_last_for_others_in_every_part(
    place: Place, page: httpx.Client
) -> None:
    """A lease on the records of one dataset outlives a look at the next one."""
    published(place, "one", everybody=0, others=4)
    published(place, "two", everybody=0, others=4)
    (queue,) = listed(page)
    shown, _ = searched(page, queue["id"], limit=2)
    with place.key("bob").client() as bob:
        first = next(each["id"] for each in listed(bob) if each["name"].endswith("-one"))
        others, _ = searched(bob, first, limit=2)
    assert not {record["id"] for record in shown} & {record["id"] for record in others}


@pytest.mark.parametrize(("hasty", "slow"), [(False, False), (False, True), (True, True)])
def test_a_page_shows_a_record_while_one_is_open_however_many_people_work(
    place: Place, hasty: bool, slow: bool
) -> None:
    """Else it receives a record that it holds for the second time, moves it to the end, and shows nothing."""
    published(place, "one", everybody=3, others=24)
    with opened(place, slow) as screens:
        work(screens, Random(0), hasty)
    everybody = [len(screen.answered) for screen in screens]
    assert sum(everybody) >= 3 * 3 + 24
    assert min(everybody) > 5


def test_a_page_shows_a_record_after_the_server_was_killed(place: Place, argilla: SessionServer) -> None:
    """A page that stays open asks the next server from a position among the records that it holds."""
    draw = Random(0)
    published(place, "one", everybody=3, others=40)
    with opened(place, slow=False) as screens:
        work(screens, draw, answers=12)
        os.kill(argilla.pid, signal.SIGKILL)
        argilla.restart()
        work(screens, draw)
    assert sum(len(screen.answered) for screen in screens) >= 3 * 3 + 40


@contextmanager
def opened(place: Place, slow: bool) -> Iterator[list[Screen]]:
    """The pages of three people, with the first records of the project's queue."""
    with ExitStack() as pages:
        clients = [pages.enter_context(page_of(place, name)) for name in ("ann", "bob", "cid")]
        (queue,) = listed(clients[0])
        screens = [Screen(client, queue["id"], slow) for client in clients]
        for screen in screens:
            screen.load()
        yield screens


def work(screens: list[Screen], draw: Random, hasty: bool = False, answers: int | None = None) -> None:
    """Answer so many records in turns, or all, and check that a page shows nothing only when nothing is left.

    Hasty people leave records for later and reload their page.
    """
    working = list(screens)
    while working and answers != 0:
        screen = draw.choice(working)
        if hasty and screen.shown and draw.random() < 0.2:
            screen.next()
        if hasty and (screen.shown is None or draw.random() < 0.1):
            screen.load()
        if screen.shown:
            screen.submit(DONE)
            answers = answers and answers - 1
        else:
            assert searched(screen.client, screen.dataset)[1] == 0
            working.remove(screen)
