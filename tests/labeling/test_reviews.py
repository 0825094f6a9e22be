"""Drafts on a real Argilla: people's reviews come back, and the field for corrections contains the draft."""

from pathlib import Path

import pytest

from labeling.argilla.submitting import Annotator
from labeling.backend import AnnotatorAnswer, LabelingError, Round, Verdict, progress, without_times
from labeling.server import Connection, accounts
from tests.labeling.asking import Place, make
from tests.labeling.conftest import SessionServer

DRAFT = "Turn it off.\n\n- Wait.\n- Turn it **on** again."
TASKS = make(3, 1)
TASKS[0]["responses"] = [DRAFT]


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


def answer(place: Place, task: str, name: str, verdict: Verdict, text: str, comment: str = "") -> AnnotatorAnswer:
    return {
        "task": task,
        "annotator": place.person(name),
        "status": "submitted",
        "ranks": None,
        "comment": comment,
        "verdict": verdict,
        "text": text,
    }


def said_by_three(place: Place, asked: Round) -> list[AnnotatorAnswer]:
    """Ann accepts, Bob corrects, Cid rejects the first draft, each with their own key; Ann reviews the other two."""
    place.annotator("ann", asked).review(
        {"t0000": ("accept", DRAFT), "t0001": ("accept", "Edited."), "t0002": ("correct", None)}
    )
    place.annotator("bob", asked).review({"t0000": ("correct", "Turn it off.\n\nThen on.")}, {"t0000": "Too long."})
    place.annotator("cid", asked).review({"t0000": ("reject", DRAFT)}, {"t0000": "It has no switch."})
    second, third = (task["responses"][0] for task in TASKS[1:])
    assert second != "Edited."
    return [
        answer(place, "t0000", "ann", "accept", DRAFT),
        answer(place, "t0000", "bob", "correct", "Turn it off.\n\nThen on.", "Too long."),
        answer(place, "t0000", "cid", "reject", DRAFT, "It has no switch."),
        answer(place, "t0001", "ann", "correct", "Edited."),
        answer(place, "t0002", "ann", "reject", third),
    ]


def test_verdicts_and_corrections_come_back_after_a_restart_too(place: Place, argilla: SessionServer) -> None:
    asked = place.round("review", TASKS, overlap=3)
    assert [place.backend.publish(asked) for _ in range(2)] == [3, 0]
    expected = said_by_three(place, asked)
    assert without_times(place.backend.answers(asked)) == expected
    assert progress(asked, expected).complete == 1
    argilla.restart()
    backend = Place(argilla.connection, argilla.home, place.workspace).backend
    assert without_times(backend.answers(asked)) == expected
    assert backend.publish(asked) == 0
    assert without_times(backend.answers(asked)) == expected
    key = accounts.key_of(argilla.connection, place.person("ann"))
    with Annotator(key, asked.queues[0].name, place.workspace) as annotator:
        assert set(annotator.statuses().values()) == {"submitted"}


def test_the_field_for_corrections_is_filled_with_the_draft(place: Place) -> None:
    asked = place.round("review", TASKS)
    place.backend.publish(asked)
    dataset = place.owner.dataset(place.owner.workspaces()[place.workspace], asked.queues[0].name)
    assert dataset is not None
    path = f"/datasets/{dataset['id']}"
    names = {question["id"]: question["name"] for question in place.owner.get(f"{path}/questions", "read")["items"]}
    records = place.owner.get(f"{path}/records", "read", include="suggestions")["items"]
    filled = {
        record["external_id"]: {names[one["question_id"]]: one["value"] for one in record["suggestions"]}
        for record in records
    }
    assert filled == {task["id"]: {"correction": task["responses"][0]} for task in TASKS}


def test_a_discarded_draft_has_its_reason_and_no_verdict(place: Place) -> None:
    asked = place.round("review", TASKS)
    place.backend.publish(asked)
    place.annotator("ann", asked).discard({"t0001": "not in English"})
    (discarded,) = place.backend.answers(asked)
    assert (discarded["status"], discarded["comment"]) == ("discarded", "not in English")
    assert not {"verdict", "text"} & set(discarded)


def test_a_draft_takes_no_ranks(place: Place) -> None:
    asked = place.round("review", TASKS)
    place.backend.publish(asked)
    with pytest.raises(LabelingError, match="'t0000' is a draft to review"):
        place.annotator("ann", asked).submit({"t0000": [1]})


def test_rankings_and_drafts_do_not_take_each_others_dataset(place: Place) -> None:
    place.backend.publish(place.round("review", TASKS))
    with pytest.raises(LabelingError, match="has other questions than this round"):
        place.backend.publish(place.round("ranking"))
