"""Annotators not to rely on, as `python -m labeling status` names them from a real Argilla."""

import time

import pytest

from labeling.__main__ import main
from labeling.server import Connection
from tests.labeling.asking import Place, make


def test_status_names_who_ranks_inversely_and_who_cannot_have_read_the_texts(
    argilla_server: Connection, argilla_home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.pace.BY_HAND", 0.02)
    place = Place(argilla_server, argilla_home)
    asked = place.round(tasks=make(24, words=120), overlap=4)
    place.backend.publish(asked)
    tasks = [task["id"] for task in asked.queues[0].tasks]
    given = {name: {task: [1, 2, 3, 4] for task in tasks} for name in ("ann", "ben", "cleo")}
    given["zed"] = {task: [4, 3, 2, 1] for task in tasks}
    for name, ranks in given.items():
        annotator = place.annotator(name, asked)
        for task in tasks:
            annotator.submit({task: ranks[task]})
            time.sleep(0.03 if name == "ben" else 0.0)
    assert main(["status", "--home", str(argilla_home)]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{place.workspace}: "))
    assert f"{place.person('zed')} ranks inversely (reliability -" in said
    assert f"{place.person('ben')} answers faster than the texts can be read (2" in said
    assert "preferences.exclude=[" in said
