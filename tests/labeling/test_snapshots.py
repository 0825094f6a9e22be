"""People's answers have a second copy in the project, which is put back into a server that lost its data."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from labeling.__main__ import main
from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.submitting import Annotator
from labeling.backend import Queue, Round
from labeling.questions import raw_values
from labeling.server import Connection, accounts, detach, running, serving, snapshots, supervisor
from labeling.server.accounts import checked
from labeling.server.home import Home
from labeling.server.snapshots import Snapshots
from tests.conftest import until
from tests.labeling.asking import make
from tests.labeling.test_server_faults import alive

ASKED = Round("team", "ranking", "Rank.", [Queue("team", make(4), 2), Queue("team-of-2", make(2, 2), 2)])
PEOPLE = 20


@pytest.fixture
def home(argilla_environment: Path, tmp_path: Path) -> Iterator[Path]:
    """A home for one test; its server is stopped at the end."""
    yield tmp_path / "outputs" / ".argilla"
    supervisor.stop(Home(tmp_path / "outputs" / ".argilla"))


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    (tmp_path / "outputs" / "team").mkdir(parents=True)
    return tmp_path / "outputs" / "team" / ".answers"


def answer_all_kinds(connection: Connection, home: Path) -> None:
    """Two people submit, discard and draft, with a tie and a comment of many lines."""
    accounts.add_annotators(connection, ["ann", "bob"], "team", home)
    ann, bob = (Annotator(accounts.key_of(connection, name), "team", "team") for name in ("ann", "bob"))
    ann.submit({"t0000": [1, 1, 3, 4], "t0001": [4, 3, 2, 1]}, comments={"t0000": "two\nlines\u2028and “more”"})
    ann.discard({"t0002": "not mine"})
    ann.draft({"t0003": [2, 1, 3, 4]})
    bob.submit({"t0000": [2, 1, 3, 4]})
    Annotator(accounts.key_of(connection, "bob"), "team-of-2", "team").submit({"t0000": [2, 1]})


def lines(copies: Path, queue: str = "team") -> list[dict[str, object]]:
    return [json.loads(line) for line in (copies / f"{queue}.jsonl").read_text().removesuffix("\n").split("\n")]


def files(copies: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in copies.glob("*.jsonl")}


def test_answers_are_back_after_a_kill_9_and_the_loss_of_the_servers_folder(
    home: Path, copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status`, `collect` and the supervisor when it ends leave the same copies, from which all is put back."""
    first = detach(home, say=print)
    backend = ArgillaBackend(first, home=home, copies=copies)
    backend.publish(ASKED)
    answer_all_kinds(first, home)
    given = ArgillaBackend(first, home=home).answers(ASKED)
    assert len(given) == 5
    assert main(["status", "--home", str(home)]) == 0
    assert f"6 answers in {copies}" in capsys.readouterr().out
    before, by_status = lines(copies), files(copies)
    shutil.rmtree(copies)
    backend.answers(ASKED)
    assert files(copies) == by_status
    pid, state = supervisor.supervisor(Home(home)), Home(home).state()
    assert pid is not None
    assert state is not None
    os.kill(pid, signal.SIGKILL)
    os.kill(state.pid, signal.SIGKILL)
    until(lambda: not alive(pid) and not alive(state.pid), "not killed")
    shutil.rmtree(copies)
    detach(home, say=print)
    until(lambda: restarted(home, state.pid), "not started again")  # a supervisor that ends sooner copies nothing
    supervisor.stop(Home(home))
    assert files(copies) == by_status
    shutil.rmtree(home)

    said: list[str] = []
    second = detach(home, say=print)
    backend = ArgillaBackend(second, said.append, home, copies)
    assert backend.publish(ASKED) == 6
    assert any("'team' was lost on the server: 5 answers (ann 4, bob 1) put back" in remark for remark in said)
    assert backend.answers(ASKED) == given  # none lost, none doubled
    assert lines(copies) == before  # who, what and when
    said.clear()
    assert backend.publish(ASKED) == 0
    assert backend.answers(ASKED) == given
    assert said == []
    with second.client() as client:
        dataset = next(each for each in checked(client.get("/me/datasets"))["items"] if each["name"] == "team")
        assert checked(client.get(f"/datasets/{dataset['id']}/progress"))["completed"] == 1
    assert accounts.add_annotators(second, ["ann", "bob"], "team", home) == ["ann", "bob"]  # invited anew
    ann = Annotator(accounts.key_of(second, "ann"), "team", "team")
    assert ann.statuses() == {"t0000": "submitted", "t0001": "submitted", "t0002": "discarded", "t0003": "draft"}
    ann.submit({"t0001": [1, 2, 3, 4]})
    changed = [answer for answer in backend.answers(ASKED) if answer not in given]
    assert [answer["ranks"] for answer in changed] == [[1, 2, 3, 4]]
    assert len(lines(copies)) == len(before)


def test_an_emptied_server_does_not_empty_the_copy_and_says_what_is_missing(home: Path, copies: Path) -> None:
    said: list[str] = []
    with serving(home, say=print) as connection:
        backend = ArgillaBackend(connection, said.append, home, copies)
        backend.publish(ASKED)
        answer_all_kinds(connection, home)
        given, before = backend.answers(ASKED), (copies / "team.jsonl").read_text()
        with connection.client() as client:
            (ann,) = [user for user in checked(client.get("/users"))["items"] if user["username"] == "ann"]
            checked(client.delete(f"/users/{ann['id']}"))  # Argilla deletes the answers, too
        backend.publish(ASKED)
        for _ in range(2):
            assert [answer for answer in given if answer["annotator"] == "bob"] == backend.answers(ASKED)
        assert sum("3 answers (ann 3)" in remark and "not on the server" in remark for remark in said) == 1
        now = (copies / "team.jsonl").read_text()
        gone = [line["annotator"] for line in lines(copies) if line.get("gone")]
        assert gone == ["ann"] * 4  # a draft, too
        assert now.replace(', "gone": true', "") == before


def test_the_copy_is_private_readable_and_without_secrets(home: Path, copies: Path) -> None:
    with serving(home, say=print) as connection:
        backend = ArgillaBackend(connection, print, home, copies)
        backend.publish(ASKED)
        answer_all_kinds(connection, home)
        backend.answers(ASKED)
        key = accounts.key_of(connection, "ann").api_key
    files = [file for file in copies.rglob("*") if file.is_file()]
    assert {file.name for file in files} == {"team.jsonl", "team-of-2.jsonl", ".lock"}
    assert {path.stat().st_mode & 0o077 for path in (copies, *files)} == {0}
    text = "".join(file.read_text() for file in files)
    passwords = [file.read_text().split("Password")[1].split()[0] for file in (home / "invitations").iterdir()]
    assert [secret for secret in (key, *passwords, *json.loads((home / "secrets.json").read_text()).values())
            if secret in text and secret != "owner"] == []  # fmt: skip
    (row,) = [row for row in lines(copies) if (row["task"], row["annotator"]) == ("t0000", "ann")]
    assert row["status"] == "submitted"
    assert row["values"]["comment"]["value"] == "two\nlines\u2028and “more”"  # type: ignore[index]
    assert row["inserted"] == row["updated"]


def test_the_supervisor_copies_by_itself_and_only_what_changed(
    home: Path, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    stock = snapshots._records
    monkeypatch.setattr(snapshots, "_records", lambda *given: read.append(given[1]["name"]) or stock(*given))
    with serving(home, say=print) as connection:
        ArgillaBackend(connection, print, home, copies).publish(ASKED)
        answer_all_kinds(connection, home)
        with Snapshots(Home(home), print, seconds=0.05):
            until(lambda: (copies / "team-of-2.jsonl").exists() and len(lines(copies)) == 5, "no copy")
            time.sleep(0.3)
            assert sorted(read) == ["team", "team-of-2"]
            Annotator(accounts.key_of(connection, "bob"), "team", "team").submit({"t0003": [1, 1, 1, 1]})
            until(lambda: len(lines(copies)) == 6, "no second copy")
        assert sorted(read) == ["team", "team", "team-of-2"]


def test_a_copied_project_folder_copies_into_itself(home: Path, copies: Path, tmp_path: Path) -> None:
    snapshots.register(home, "team", copies)
    shutil.copytree(tmp_path / "outputs", tmp_path / "copy")
    assert snapshots.projects(tmp_path / "copy" / ".argilla") == {"team": tmp_path / "copy" / "team" / ".answers"}
    shutil.rmtree(tmp_path / "copy" / "team")
    assert snapshots.projects(tmp_path / "copy" / ".argilla") == {}  # a deleted project does not come back


def test_a_server_whose_folder_is_deleted_ends_before_answers_go_into_deleted_files(home: Path, copies: Path) -> None:
    detach(home, say=print)
    pid, state = supervisor.supervisor(Home(home)), Home(home).state()
    assert pid is not None
    assert state is not None
    until(lambda: shutil.rmtree(home, ignore_errors=True) or not home.exists(), "files are left")  # it closes its own
    until(lambda: not alive(state.pid), "the server goes on")
    until(lambda: not alive(pid), "the supervisor goes on")
    assert not home.exists()


@pytest.mark.slow
def test_twenty_people_submit_while_the_server_is_killed_and_every_accepted_answer_is_collected(
    home: Path, copies: Path
) -> None:
    asked = Round("team", "ranking", "Rank.", [Queue("team", make(40), PEOPLE)])
    connection = detach(home, say=print)
    backend = ArgillaBackend(connection, print, home, copies)
    backend.publish(asked)
    names = [f"person{number}" for number in range(PEOPLE)]
    accounts.add_annotators(connection, names, "team", home)
    with connection.client() as client:
        (dataset,) = checked(client.get("/me/datasets"))["items"]
        rows = checked(client.get(f"/datasets/{dataset['id']}/records?limit=100"))["items"]
        keys = {user["username"]: user["api_key"] for user in checked(client.get("/users"))["items"]}
    accepted: set[tuple[str, str]] = set()
    begin = threading.Barrier(PEOPLE + 1)

    def work(name: str) -> None:
        with Connection(connection.url, keys[name]).client(timeout=60) as client:
            begin.wait()
            for row in rows:
                body = {"status": "submitted", "values": raw_values("ranking", [1, 2, 3, 4])}
                for _ in range(20):
                    try:
                        answer = client.post(f"/records/{row['id']}/responses", json=body)
                    except httpx.TransportError:  # the connection broke: the person presses Submit again
                        time.sleep(0.2)
                        continue
                    if answer.is_success:
                        accepted.add((row["external_id"], name))
                    break

    def kill() -> None:
        begin.wait()
        for _ in range(2):
            state, number = Home(home).state(), len(accepted)
            until(lambda number=number: len(accepted) > number + 50, "no submits")
            assert state is not None
            os.kill(state.pid, signal.SIGKILL)
            until(lambda pid=state.pid: restarted(home, pid), "not started again")

    with ThreadPoolExecutor(PEOPLE + 1) as pool:
        for job in [*[pool.submit(work, name) for name in names], pool.submit(kill)]:
            job.result()
    collected = [(answer["task"], answer["annotator"]) for answer in backend.answers(asked)]
    assert accepted <= set(collected)
    assert len(set(collected)) == len(collected)
    assert len(accepted) > 700  # nearly all: without a reply, an answer may have been stored all the same
    assert {(row["task"], row["annotator"]) for row in lines(copies)} == set(collected)


def restarted(home: Path, pid: int) -> bool:
    state = Home(home).state()
    return state is not None and state.pid != pid and running(home) is not None


def test_a_reader_can_import_the_module_without_argilla() -> None:
    """The supervisor stays small: Argilla's client takes 100 MB."""
    code = "import sys, labeling.server.supervisor; assert 'argilla' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
