"""Third opinions on a real server: only where two people disagree, up to the highest number, also after a restart."""

from pathlib import Path

from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.submitting import Annotator
from labeling.backend import Queue, Round, progress
from labeling.questions import raw_values
from labeling.server import Connection, accounts, serving
from labeling.server.accounts import checked
from tests.conftest import until
from tests.labeling.asking import make

PEOPLE = ("ann", "ben", "cleo", "dora")
ONE, OTHER = [1, 2], [2, 1]


def pending(connection: Connection, name: str) -> list[str]:
    """The tasks that a person is asked about."""
    return Annotator(accounts.key_of(connection, name), "team", "team").pending()


def submit(connection: Connection, name: str, ranks: dict[str, list[int]]) -> None:
    Annotator(accounts.key_of(connection, name), "team", "team").submit(ranks)


def completed(connection: Connection) -> int:
    with connection.client() as client:
        (dataset,) = checked(client.get("/me/datasets"))["items"]
        return int(checked(client.get(f"/datasets/{dataset['id']}/progress"))["completed"])


def asked(least: int, most: int | None) -> Round:
    return Round("team", "ranking", "Rank.", [Queue("team", make(4, responses=2), least, most)])


def test_a_third_and_a_fourth_person_are_asked_only_where_those_before_disagree(
    argilla_environment: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serving(home, say=print) as connection:
        backend = ArgillaBackend(connection, print, home)
        backend.publish(asked(2, None))
        accounts.add_annotators(connection, list(PEOPLE), "team", home)
        submit(connection, "ann", dict.fromkeys(("t0000", "t0001", "t0002"), ONE))
        submit(connection, "ben", {"t0000": ONE, "t0001": OTHER, "t0002": OTHER})
        assert completed(connection) == 3
        backend.publish(asked(2, 4))  # the range is set while people work: two tasks are open again
        until(lambda: completed(connection) == 1, "not opened again")
        assert pending(connection, "cleo") == ["t0001", "t0002", "t0003"]
        assert pending(connection, "ann") == ["t0003"]  # nobody is asked twice
        submit(connection, "cleo", {"t0001": ONE, "t0002": [1, 1]})
        assert pending(connection, "dora") == ["t0002", "t0003"]  # a tie is no majority
        given = backend.answers(asked(2, 4))
        assert progress(asked(2, 4), given).complete == completed(connection) == 2
    with serving(home, say=print) as connection:  # the next start repairs statuses, by the same rule
        backend = ArgillaBackend(connection, print, home)
        assert backend.answers(asked(2, 4)) == given
        assert pending(connection, "dora") == ["t0002", "t0003"]
        submit(connection, "dora", {"t0002": OTHER, "t0003": OTHER})
        assert completed(connection) == 3
        submit(connection, "ann", {"t0003": ONE})
        with accounts.session(connection) as client:
            (dataset,) = checked(client.get("/me/datasets"))["items"]
            found = checked(client.get(f"/datasets/{dataset['id']}/records?include=responses"))["items"]
        (record,) = [one for one in found if one["external_id"] == "t0003"]
        assert record["status"] == "pending"
        with accounts.key_of(connection, "ben").client() as client:  # as the page does, one by one
            body = {"status": "submitted", "values": raw_values("ranking", OTHER)}
            checked(client.post(f"/records/{record['id']}/responses", json=body))
        assert completed(connection) == 4
        backend.publish(asked(2, None))  # without the range, two opinions are enough
        assert completed(connection) == 4
