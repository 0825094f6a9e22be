"""Faults of the embedded server: killed, started twice, port in use, no network."""

import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from labeling.__main__ import main
from labeling.backend import LabelingError
from labeling.server import Connection, Tls, address, detach, environment, running, serving, supervisor
from labeling.server.accounts import checked
from labeling.server.home import Home
from tests.conftest import until
from tests.labeling.test_server_search import Place, numbered
from tests.places import ROOT

SECONDS = 60.0


def pid_of(home: Path) -> int:
    state = Home(home).state()
    assert state is not None
    return state.pid


def started_again(home: Path, first: int) -> bool:
    """Return whether another process serves the home now."""
    state = Home(home).state()
    return state is not None and state.pid != first and running(home) is not None


def alive(pid: int) -> bool:
    """Return whether the process runs and is not a zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def home(argilla_environment: Path, tmp_path: Path) -> Iterator[Path]:
    """A home for one test; its server is stopped at the end."""
    yield tmp_path / "home"
    supervisor.stop(Home(tmp_path / "home"))


def command(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m labeling …` in a separate process, like a terminal does."""
    line = [sys.executable, "-m", "labeling", *arguments, "--home", str(home)]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_server_finds_a_free_port_and_ends_with_the_block_that_needed_it(
    argilla_server: Connection, home: Path
) -> None:
    with serving(home, say=print) as connection:
        assert connection.url != argilla_server.url
        pid = pid_of(home)
    assert not alive(pid)
    assert running(home) is None
    assert "stopped" in (home / "server.log").read_text()
    assert not (home / "argilla.db-wal").exists()  # the database needs no recovery


def test_a_taken_port_is_one_clear_message(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = f"cannot listen on port {port} of 127.0.0.1"
        with pytest.raises(LabelingError, match=message) as taken, serving(home, say=print, port=port):
            pass
        assert taken.value.fault == "service"
        with pytest.raises(LabelingError, match=f"cannot listen on port {port}"):
            detach(home, say=print, port=port)
        assert main(["serve", "--port", str(port), "--home", str(home)]) == 1


@dataclass
class Restarts:
    """A home's server that was stopped and damaged, started again, and then moved by another process on its port."""

    first: Connection
    again: Connection
    moved: Connection
    people: list[str]
    names: set[str]  # of all users, after the first restart
    progress: dict[str, int]  # likewise
    said: list[str]  # by the last start
    invitation: str  # after the last start


@pytest.fixture(scope="module")
def restarts(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Restarts:
    """Three starts of one home; it loses its secrets, and two records are left as by a kill between two commits."""
    home = tmp_path_factory.mktemp("restarts") / "home"
    with serving(home, say=print) as first:
        place = Place(first, home, "a", overlap=1)
        place.publish(numbered(2))
        place.answer(0, "r01", quality=3)
        place.close()
    with sqlite3.connect(home / "argilla.db") as database:
        assert database.execute("UPDATE records SET status = 'pending', submitted = 0").rowcount == 2
    (home / "secrets.json").unlink()
    with serving(home, say=print) as again, again.client() as client:
        progress = checked(client.get(f"/datasets/{place.id}/progress"))
        names = {user["username"] for user in checked(client.get("/users"))["items"]}
    said: list[str] = []
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.url.rpartition(":")[2])))
        other.listen()
        with serving(home, say=said.append) as moved:
            invitation = (home / "invitations" / f"{place.people[0]}.txt").read_text()
    return Restarts(first, again, moved, place.people, names, progress, said, invitation)


def test_a_home_keeps_its_port_and_where_it_cannot_its_invitations_follow(restarts: Restarts) -> None:
    first, moved = restarts.first, restarts.moved
    assert restarts.again.url == first.url
    assert moved.url != first.url
    assert f"Address    {moved.url}\n" in restarts.invitation
    assert f"The address is {moved.url} now, not {first.url}: 1 invitations say so, tell the people" in restarts.said


def test_records_left_open_by_a_kill_are_settled_at_the_next_start(restarts: Restarts) -> None:
    assert (restarts.progress["completed"], restarts.progress["pending"]) == (1, 1)


def test_lost_secrets_are_generated_anew_and_answers_stay(restarts: Restarts) -> None:
    assert restarts.again.api_key != restarts.first.api_key
    assert restarts.moved.api_key == restarts.again.api_key
    assert restarts.names == {"owner", *restarts.people}


def test_a_second_server_on_a_home_is_refused_by_naming_the_first(
    argilla_server: Connection, argilla_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for how in ([], ["--detach", "--host", "0.0.0.0"]):
        assert main(["serve", "--home", str(argilla_home), *how]) == 2
        message = capsys.readouterr().err
        assert argilla_server.url in message
        assert f"process {pid_of(argilla_home)}" in message
    assert argilla_server.answers()


def test_sigterm_and_ctrl_c_stop_a_foreground_server_cleanly(home: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = command(home, "serve")
        until(lambda: running(home), "no server")
        pid = pid_of(home)
        process.send_signal(number)
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        assert "Stopped." in said
        assert "Traceback" not in said
        assert not alive(pid)
    assert (home / "server.log").read_text().count("stopped") == 2


def test_a_killed_starter_takes_its_server_along_and_leaves_no_obstacle(home: Path) -> None:
    process = command(home, "serve")
    until(lambda: running(home), "no server")
    pid = pid_of(home)
    process.kill()
    process.communicate(timeout=SECONDS)
    with serving(home, say=print) as connection:
        assert connection.answers()
    until(lambda: not alive(pid), "the server outlived its starter")


def test_whoever_joins_keeps_the_server_when_its_starter_ends(home: Path) -> None:
    first = serving(home, say=print)
    first.__enter__()
    with serving(home, say=print) as joined:
        pid = pid_of(home)
        first.__exit__(None, None, None)
        time.sleep(1)
        assert joined.answers()
        assert pid_of(home) == pid
    until(lambda: not alive(pid), "the server outlived everybody")


@pytest.mark.slow
def test_a_detached_server_outlives_its_starter_and_each_kill_9_and_loses_nothing(home: Path) -> None:
    process = command(home, "serve", "--detach")
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    connection = running(home)
    assert connection is not None
    place = Place(connection, home, "ab", overlap=2)
    place.publish(numbered(20))
    for record in list(place.records)[:5]:
        place.answer(0, record, quality=3)
    before = place.get(f"/datasets/{place.id}/records?include=responses")
    first = pid_of(home)
    os.kill(first, signal.SIGKILL)
    until(lambda: started_again(home, first), "not started again")
    assert running(home) == connection  # same address, same key
    assert place.get(f"/datasets/{place.id}/records?include=responses") == before
    place.answer(1, "r00", quality=3)
    assert place.progress()["completed"] == 1
    place.close()
    kill_amid_submits(connection, home)
    assert main(["serve", "--stop", "--home", str(home)]) == 0
    assert running(home) is None


def kill_amid_submits(connection: Connection, home: Path) -> None:
    """Check that no accepted answer is lost when the server is killed while a person submits."""
    place = Place(connection, home, "a", overlap=1)
    place.publish(numbered(60))
    accepted = []
    for number, record in enumerate(place.records):
        if number == 30:
            os.kill(pid_of(home), signal.SIGKILL)
        for _ in range(3):
            try:
                place.answer(0, record, quality=3)
            except httpx.TransportError:
                continue  # the connection broke; the next one waits for the new server
            except LabelingError:
                break  # the server had accepted it before it was killed
            accepted.append(record)
            break
    assert len(accepted) >= 59
    rows = place.get(f"/datasets/{place.id}/records?include=responses&limit=100")
    answered = {row["external_id"] for row in rows if row["responses"]}
    assert answered == set(place.records)
    assert place.progress()["completed"] == 60
    place.close()


@pytest.mark.slow
def test_a_detached_server_stays_where_a_command_had_started_one(home: Path) -> None:
    with serving(home, say=print) as own:
        pid = pid_of(home)
        assert detach(home, say=print) == own
        assert supervisor.supervisor(Home(home)), "the server would end with this block"
    assert own.answers()
    os.kill(pid, signal.SIGKILL)
    until(lambda: started_again(home, pid), "not taken over")


def test_tls_serves_the_given_certificate_on_all_addresses(home: Path, tmp_path: Path) -> None:
    tls = Tls(tmp_path / "cert.pem", tmp_path / "key.pem")
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=team.example"]
    made = subprocess.run([*line, "-keyout", tls.key, "-out", tls.certificate], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no openssl here")
    with serving(home, say=print, host="0.0.0.0", tls=tls) as connection:
        assert connection.url.startswith("https://127.0.0.1:")
        assert running(home) == connection
        assert address(home, connection).startswith(f"https://{socket.gethostname()}:")
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            httpx.get(connection.url)
        served_certificate = ssl.get_server_certificate(("127.0.0.1", int(connection.url.rpartition(":")[2])))
        assert served_certificate.split() == tls.certificate.read_text().split()


def test_a_tls_file_that_is_not_there_is_a_wrong_request(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["serve", "--home", str(home), "--tls-cert", "none.pem"]
    assert main([*line, "--tls-key", "none.key"]) == 2
    assert "none.pem cannot be read" in capsys.readouterr().err
    assert main(line) == 2
    assert "go together" in capsys.readouterr().err


def test_without_network_the_environment_is_one_clear_message_and_nothing_half_built_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A build that is no longer needed ends before, and the next attempt is its own: a sweep's jobs share a process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    half = environment.environment_path().with_suffix(".building")
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to(sys.executable)
    stop = threading.Event()
    stop.set()
    with pytest.raises(LabelingError, match="no longer needed"):
        environment.ensure_environment(lambda _: None, stop)
    assert not environment.environment_path().exists()
    said: list[str] = []
    with pytest.raises(LabelingError, match="could not be installed") as failed:
        environment.ensure_environment(said.append)
    assert failed.value.fault == "service"
    assert "needs the network" in str(failed.value)
    assert "once" in said[0]
    assert not environment.environment_path().exists()


def test_the_lock_file_names_no_registry_and_has_a_hash_for_everything() -> None:
    lines = environment.LOCK_FILE.read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []
    pinned = [number for number, line in enumerate(lines) if line and not line.startswith(("#", " "))]
    assert len(pinned) > 80
    assert all("==" in lines[number] and "--hash=sha256:" in lines[number + 1] for number in pinned)
    click = next(lines[number] for number in pinned if lines[number].startswith("click=="))
    assert click.startswith("click==8.1.")
