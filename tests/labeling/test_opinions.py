"""Third opinions on a real server: only where two people disagree, up to the highest number, also after a restart."""

from typing import Any

from labeling.argilla.submitting import Annotator
from labeling.backend import Queue, Round, progress
from labeling.questions import raw_values
from labeling.server import accounts
from labeling.server.accounts import checked
from tests.conftest import until
from tests.labeling.asking import Place, make
from tests.labeling.conftest import SessionServer

ONE, OTHER = [1, 2], [2, 1]


def annotator(place: Place, name: str) -> Annotator:
    key = accounts.key_of(place.connection, place.person(name))
    return Annotator(key, f"{place.workspace}-round", place.workspace)


def dataset(place: Place) -> dict[str, Any]:
    found = place.owner.dataset(place.owner.workspaces()[place.workspace], f"{place.workspace}-round")
    assert found is not None
    return dict(found)


def completed(place: Place) -> int:
    return int(place.owner.get(f"/datasets/{dataset(place)['id']}/progress", "count")["completed"])


def asked(place: Place, least: int, most: int | None) -> Round:
    queue = Queue(f"{place.workspace}-round", make(4, responses=2), least, most)
    return Round(place.workspace, "ranking", "Rank.", [queue])


def test_a_third_and_a_fourth_person_are_asked_only_where_those_before_disagree(argilla: SessionServer) -> None:
    place = Place(argilla.connection, argilla.home)
    place.backend.publish(asked(place, 2, None))
    place.backend.add_annotators([place.person(name) for name in ("ann", "ben", "cleo", "dora")], place.workspace)
    annotator(place, "ann").submit(dict.fromkeys(("t0000", "t0001", "t0002"), ONE))
    annotator(place, "ben").submit({"t0000": ONE, "t0001": OTHER, "t0002": OTHER})
    assert completed(place) == 3
    place.backend.publish(asked(place, 2, 4))  # the range is set while people work: two tasks are open again
    until(lambda: completed(place) == 1, "not opened again")
    assert annotator(place, "cleo").pending() == ["t0001", "t0002", "t0003"]
    assert annotator(place, "ann").pending() == ["t0003"]  # nobody is asked twice
    annotator(place, "cleo").submit({"t0001": ONE, "t0002": [1, 1]})
    assert annotator(place, "dora").pending() == ["t0002", "t0003"]  # a tie is no majority
    given = place.backend.answers(asked(place, 2, 4))
    assert progress(asked(place, 2, 4), given).complete == completed(place) == 2
    argilla.restart()  # the next start repairs statuses, by the same rule
    assert place.backend.answers(asked(place, 2, 4)) == given
    assert annotator(place, "dora").pending() == ["t0002", "t0003"]
    annotator(place, "dora").submit({"t0002": OTHER, "t0003": OTHER})
    assert completed(place) == 3
    annotator(place, "ann").submit({"t0003": ONE})
    with accounts.session(place.connection) as client:
        found = checked(client.get(f"/datasets/{dataset(place)['id']}/records?include=responses"))["items"]
    (record,) = [one for one in found if one["external_id"] == "t0003"]
    assert record["status"] == "pending"
    with accounts.key_of(place.connection, place.person("ben")).client() as client:  # as the page does, one by one
        body = {"status": "submitted", "values": raw_values("ranking", OTHER)}
        checked(client.post(f"/records/{record['id']}/responses", json=body))
    assert completed(place) == 4
    place.backend.publish(asked(place, 2, None))  # without the range, two opinions are enough
    assert completed(place) == 4
