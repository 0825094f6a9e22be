"""The server's headers for browsers, and its protection against expensive requests."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from labeling.server import Connection, environment
from tests.labeling.asking import Place, make

PAGES = ("/", "/sign-in", "/user-settings", "/welcome-hf-sign-in", "/new/none", "/api/v1/me", "/api/v1/none", "/none")


@pytest.fixture
def client(argilla_server: Connection) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=argilla_server.url) as made:
        yield made


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_framed_and_none_loads_from_elsewhere(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"]
    assert not any("http" in sources for sources in policy.values())
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")


def test_no_other_origin_may_read_an_answer(argilla_server: Connection, client: httpx.Client) -> None:
    elsewhere = {"Origin": "https://elsewhere.example", "X-Argilla-Api-Key": argilla_server.api_key}
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-argilla-api-key"}
    for answer in (
        client.get("/api/v1/me", headers=elsewhere),
        client.options("/api/v1/me", headers={"Origin": elsewhere["Origin"], **asked}),
        client.post("/api/v1/token", headers=elsewhere, data={"username": "x", "password": "y"}),
    ):
        assert [name for name in answer.headers if name.startswith("access-control-")] == []


def test_pages_of_documentation_that_load_from_elsewhere_are_not_there(client: httpx.Client) -> None:
    for path in ("/api/v1/docs", "/api/v1/redoc"):
        assert client.get(path).status_code == 404
    assert client.get("/api/v1/openapi.json").status_code == 200


def test_a_range_header_of_many_ranges_keeps_the_server_busy_for_no_time(client: httpx.Client) -> None:
    """CVE-2025-62727: 229 kB took 15 s, in which the server answered no other request."""
    ranges = "bytes=" + ",".join(f"{number}-{number}" for number in range(0, 7000))
    start = time.monotonic()
    answer = client.get("/favicon.ico", headers={"Range": ranges}, timeout=60)
    assert time.monotonic() - start < 3
    assert answer.status_code in (200, 206, 400, 416, 431)
    assert client.get("/favicon.ico", headers={"Range": "bytes=0-9"}).content == client.get("/favicon.ico").content[:10]


def test_the_lock_has_no_version_with_a_known_hole() -> None:
    least = {"starlette": (0, 49, 1), "python-jose": (3, 4, 0), "urllib3": (2, 6, 0)}
    pins = (line.split(" ")[0].split("==") for line in environment.LOCK_FILE.read_text().splitlines() if "==" in line)
    locked = {pin[0]: tuple(int(part) for part in pin[1].split(".")) for pin in pins if pin[0] in least}
    assert {name: version for name, version in least.items() if locked[name] < version} == {}


def test_every_page_asks_this_server_alone_and_keeps_to_its_policy(
    argilla_server: Connection, argilla_home: Path
) -> None:
    pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e .[test]")
    from tests.labeling.browser import CHROMIUM, AnnotatorPage, chromium, opened

    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    place = Place(argilla_server, argilla_home)
    asked = place.round(tasks=make(2))
    place.backend.publish(asked)
    place.backend.add_annotators([place.person("ann")], place.workspace)
    invitation = (argilla_home / "invitations" / f"{place.person('ann')}.txt").read_text()
    with chromium() as browser, opened(browser) as page:
        hosts: set[str] = set()
        complaints: list[str] = []
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("console", lambda said: complaints.append(said.text) if "Security" in said.text else None)
        person = AnnotatorPage(page, argilla_server.url)
        person.sign_in(place.person("ann"), invitation.split("Password")[1].split()[0])
        person.open(place.workspace)
        person.open_guidelines()
        dataset = urlsplit(page.url).path.split("/")[2]
        for path in ("/", "/user-settings", "/welcome-hf-sign-in", f"/dataset/{dataset}/settings"):
            page.goto(argilla_server.url + path)
            page.wait_for_timeout(1000)
    assert hosts - {""} == {urlsplit(argilla_server.url).netloc}  # "": content inside the page, as data:
    assert complaints == []
