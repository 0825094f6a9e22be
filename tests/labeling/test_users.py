"""`users` and `status` on the real server: accounts, private invitations, and people's progress."""

import re
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from labeling.__main__ import main
from labeling.backend import LabelingError
from labeling.server import Connection, accounts
from labeling.server.accounts import add_annotators, key_of, reset
from tests.labeling.test_server_search import Place, numbered

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(argilla_server: Connection, argilla_home: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command line on the session's server: (status, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*arguments, "--home", str(argilla_home)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def password(invitation: Path) -> str:
    return invitation.read_text().split("Password")[1].split()[0]


def logs_in(server: Connection, name: str, word: str) -> bool:
    answer = httpx.post(f"{server.url}/api/v1/token", data={"username": name, "password": word})
    return answer.status_code == 201


def names_on(server: Connection) -> set[str]:
    return {person["username"] for person in accounts.annotators(server)}


def test_an_invitation_is_private_and_lets_its_owner_in(
    said: Said, argilla_server: Connection, argilla_home: Path
) -> None:
    status, out, _ = said("users", "add", "reader_a", "reader_b", "--workspace", "books")
    assert status == 0
    for name in ("reader_a", "reader_b"):
        invitation = argilla_home / "invitations" / f"{name}.txt"
        assert stat.S_IMODE(invitation.stat().st_mode) == 0o600
        assert argilla_server.url in invitation.read_text()
        assert str(invitation) in out.replace("\n", "")
        word = password(invitation)
        assert len(word) >= 20
        assert word not in out
        assert logs_in(argilla_server, name, word)
    assert stat.S_IMODE((argilla_home / "invitations").stat().st_mode) == 0o700
    assert password(argilla_home / "invitations" / "reader_a.txt") != password(
        argilla_home / "invitations" / "reader_b.txt"
    )
    assert "books" in said("users", "list")[1]


def test_adding_again_changes_nothing_and_says_so(said: Said, argilla_home: Path) -> None:
    assert said("users", "add", "again")[0] == 0
    invitation = (argilla_home / "invitations" / "again.txt").read_text()
    status, out, _ = said("users", "add", "again", "--workspace", "second")
    assert status == 0
    assert "has an account already" in out
    assert (argilla_home / "invitations" / "again.txt").read_text() == invitation
    assert "playground, second" in said("users", "list")[1]


def test_a_password_is_shown_only_on_request(said: Said, argilla_home: Path) -> None:
    out = said("users", "add", "shown", "--show")[1]
    assert password(argilla_home / "invitations" / "shown.txt") in out


def token(server: Connection, name: str, word: str) -> httpx.Client:
    """Return a client that has signed in like the page does."""
    given = httpx.post(f"{server.url}/api/v1/token", data={"username": name, "password": word}).json()["access_token"]
    return httpx.Client(base_url=f"{server.url}/api/v1", headers={"Authorization": f"Bearer {given}"})


def test_a_reset_gives_a_new_password_and_ends_old_keys_and_tokens_at_once(
    said: Said, argilla_server: Connection, argilla_home: Path
) -> None:
    add_annotators(argilla_server, ["forgetful"], "books", argilla_home)
    invitation = argilla_home / "invitations" / "forgetful.txt"
    old, key = password(invitation), key_of(argilla_server, "forgetful")
    with token(argilla_server, "forgetful", old) as signed_in, key.client() as program:
        assert [client.get("/me").status_code for client in (signed_in, program)] == [200, 200]
        assert said("users", "reset", "forgetful")[0] == 0
        assert [client.get("/me").status_code for client in (signed_in, program)] == [401, 401]
    assert not logs_in(argilla_server, "forgetful", old)
    assert logs_in(argilla_server, "forgetful", password(invitation))
    with token(argilla_server, "forgetful", password(invitation)) as signed_in:
        assert signed_in.get("/me").status_code == 200
    assert key_of(argilla_server, "forgetful").answers()
    status, _, err = said("users", "reset", "nobody")
    assert status == 2
    assert "no account 'nobody'" in err


def test_a_removed_person_has_no_access_and_their_answers_stay(
    said: Said, argilla_server: Connection, argilla_home: Path
) -> None:
    place = Place(argilla_server, argilla_home, "ab", overlap=1)
    place.publish(numbered(2))
    place.answer(0, "r00", quality=4)
    gone = place.people[0]
    invitation = argilla_home / "invitations" / f"{gone}.txt"
    old, key = password(invitation), key_of(argilla_server, gone)
    (own,) = place.get(f"/datasets/{place.id}/records?include=responses&limit=1")[0]["responses"]
    with token(argilla_server, gone, old) as signed_in, key.client() as program:
        assert said("users", "remove", gone)[0] == 0
        for client in (signed_in, program):
            assert client.get("/me").status_code == 401
            assert client.put(f"/responses/{own['id']}", json={"status": "discarded"}).status_code == 401
    assert not logs_in(argilla_server, gone, old)
    assert not invitation.exists()
    assert place.get(f"/datasets/{place.id}/records?include=responses&limit=1")[0]["responses"] == [own]
    assert gone in {user["username"] for user in place.get("/users")}  # the answer keeps this name
    assert re.search(rf"{gone}\s+\(removed; answers kept\)", said("users", "list")[1])
    assert said("users", "reset", gone)[0] == 2
    place.close()


def test_a_removed_person_comes_back_only_when_asked_for(
    said: Said, argilla_server: Connection, argilla_home: Path
) -> None:
    add_annotators(argilla_server, ["boomerang", "still_there"], "books", argilla_home)
    assert said("users", "remove", "boomerang")[0] == 0
    assert said("users", "remove", "boomerang")[0] == 0  # a second time has no effect
    with pytest.raises(LabelingError, match="Take them out of labeling") as refused:
        add_annotators(argilla_server, ["still_there", "boomerang"], "books", argilla_home)
    assert refused.value.fault == "request"
    assert "users add boomerang" in str(refused.value)
    assert said("users", "add", "boomerang", "--workspace", "books")[0] == 0
    word = password(argilla_home / "invitations" / "boomerang.txt")
    with token(argilla_server, "boomerang", word) as signed_in:
        assert [place["name"] for place in signed_in.get("/me/workspaces").json()["items"]] == ["books"]
    assert add_annotators(argilla_server, ["boomerang"], "books", argilla_home) == []


def test_an_owner_is_not_removed(said: Said, argilla_server: Connection) -> None:
    status, _, err = said("users", "remove", "owner")
    assert status == 2
    assert "no annotator but owner" in err
    assert argilla_server.answers()


def test_people_come_from_a_table_each_into_their_workspace(
    said: Said, argilla_server: Connection, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    table.write_text("\ufeffName,workspace\ncsv_1,\ncsv_2,films\n", encoding="utf-8")
    assert said("users", "add", "--from", str(table), "--workspace", "books")[0] == 0
    workspaces = {person["username"]: person["workspaces"] for person in accounts.annotators(argilla_server)}
    assert (workspaces["csv_1"], workspaces["csv_2"]) == (["books"], ["films"])


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("username,x\nok1,\n,\nwith space,\nok1,\n", ["line 3: no username", "line 4: 'with space'", "line 5: 'ok1'"]),
        ("username\nok1,too,many\n", ["line 2: more values than columns"]),
        ("person\nok1\n", ["line 1: no column `username`"]),
        ("username\n", ["nobody in it"]),
        ("", ["no column `username`"]),
        ('username\n"ok1\n', ["cannot be read as CSV"]),
    ],
)
def test_all_faults_of_a_table_are_said_at_once_and_nobody_is_created(
    said: Said, argilla_server: Connection, tmp_path: Path, text: str, faults: list[str]
) -> None:
    table = tmp_path / "people.csv"
    table.write_text(text)
    before = names_on(argilla_server)
    status, _, err = said("users", "add", "--from", str(table))
    assert status == 2
    assert [fault for fault in faults if fault not in err] == []
    assert names_on(argilla_server) == before


def test_an_impossible_name_creates_nobody(said: Said, argilla_server: Connection) -> None:
    before = names_on(argilla_server)
    status, _, err = said("users", "add", "fine_name", "../outside", "two words")
    assert status == 2
    assert "'../outside', 'two words'" in err
    assert said("users", "add", "owner")[0] == 2
    assert said("users", "add")[0] == 2
    assert names_on(argilla_server) == before


def test_only_an_owners_key_makes_accounts(argilla_server: Connection, argilla_home: Path) -> None:
    add_annotators(argilla_server, ["plain"], "books", argilla_home)
    with pytest.raises(LabelingError, match="an owner's is needed") as refused:
        add_annotators(key_of(argilla_server, "plain"), ["other"], "books", argilla_home)
    assert refused.value.fault == "request"
    with pytest.raises(LabelingError, match="an owner's is needed"):
        add_annotators(Connection(argilla_server.url, "wrong"), ["other"], "books", argilla_home)


def test_a_remote_server_needs_only_the_environment(
    argilla_server: Connection,
    argilla_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARGILLA_API_URL", argilla_server.url)
    monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
    assert main(["users", "add", "from_afar"]) == 0
    assert logs_in(argilla_server, "from_afar", password(tmp_path / "outputs/.argilla/invitations/from_afar.txt"))
    assert main(["status"]) == 0
    assert argilla_server.url in capsys.readouterr().out
    monkeypatch.delenv("ARGILLA_API_KEY")
    assert main(["status"]) == 2


def test_a_server_that_is_down_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["users", "list", "--home", str(tmp_path)]) == 1
    assert "serve --detach" in capsys.readouterr().err
    assert main(["status", "--home", str(tmp_path)]) == 0
    assert "down" in capsys.readouterr().out
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARGILLA_API_KEY", "key")
    assert main(["users", "list"]) == 1
    assert "does not answer" in capsys.readouterr().err
    with pytest.raises(LabelingError, match="does not answer"):
        reset(Connection("http://127.0.0.1:9", "key"), "somebody", tmp_path)
    assert not (tmp_path / "invitations").exists()


def test_status_shows_how_far_everybody_is(said: Said, argilla_server: Connection, argilla_home: Path) -> None:
    place = Place(argilla_server, argilla_home, "ab", overlap=1)
    place.publish(numbered(4))
    place.answer(0, "r00", quality=1)
    place.answer(0, "r01", quality=1)
    place.answer(0, "r02", status="discarded")
    place.answer(0, "r03", status="draft", quality=2)
    place.close()
    status, out, _ = said("status")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    assert status == 0
    assert argilla_server.url in out
    assert "2 of 4 complete" in out
    assert rows[place.people[0]] == ["2", "1", "1"]
    assert rows[place.people[1]] == ["-", "-", "-"]


def test_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "invitations" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["srve"]) == 2
    assert "serve, users, status, report, adjudicate, ledger, import, export" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["users", "--help"])
    assert ended.value.code == 0
    assert "pseudonyms" in capsys.readouterr().out
