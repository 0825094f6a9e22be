"""Divided prompts go to one person, with all opinions shown, on a real server; the decision is one more ranking."""

from pathlib import Path

import pytest

from labeling.__main__ import main
from labeling.argilla.backend import ArgillaBackend
from labeling.argilla.submitting import Annotator
from labeling.backend import Queue, Round
from labeling.projects import read_project
from labeling.records import check_ranking
from labeling.report.facts import facts_of_project
from labeling.rounds import rankings_of
from labeling.server import Connection, accounts, serving
from labeling.server.accounts import checked
from tests.labeling.asking import Place, make
from tests.labeling_projects import write_tasks

VERSION = "abc123def456"


def test_what_stays_divided_is_decided_by_one_person_and_every_opinion_is_kept(
    argilla_server: Connection, argilla_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(argilla_server, argilla_home)
    project, tasks = tmp_path / "outputs" / place.workspace, make(6, responses=2)
    write_tasks(project, tasks, checks={"gold": {"t0004": [1, 2]}}, version=VERSION)
    queue = Queue(f"{place.workspace}-{VERSION[:6]}", tasks, 2)
    asked = Round(place.workspace, "ranking", "Rank them.", [queue])
    backend = ArgillaBackend(argilla_server, print, argilla_home, project / ".answers")
    backend.publish(asked)
    ann, ben = (place.annotator(name, asked) for name in ("ann", "ben"))
    ann.submit({f"t000{k}": [1, 2] for k in range(6)}, comments={"t0001": "a | b <script>"})
    ben.submit({"t0000": [1, 2], "t0001": [2, 1], "t0002": [2, 1], "t0003": [1, 1], "t0004": [2, 1]})

    def run(by: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(["adjudicate", str(project), "--home", str(argilla_home), "--by", by]) == status
        said = capsys.readouterr()
        return said.out + said.err

    lead = place.person("lead")
    assert f"{place.person('ann')} has ranked 2 of these prompts" in run(place.person("ann"), 2)
    said = run(lead)
    assert f"2 prompts are queued for {lead}" in said  # not the agreed, the tie, gold, or the one with one answer
    assert f"{lead}.txt" in said
    assert "stage=collect" in said
    assert "No further prompt" in run(lead)  # idempotent

    space, name = f"{place.workspace}-adjudication", f"{place.workspace}-{VERSION[:6]}-adjudication"
    deciding = Annotator(accounts.key_of(argilla_server, lead), name, space)
    assert deciding.pending() == ["t0001", "t0002"]
    with accounts.key_of(argilla_server, place.person("ann")).client() as client:
        assert [one["name"] for one in checked(client.get("/me/workspaces"))["items"]] == [place.workspace]
    shown = str(deciding._records["t0001"]["fields"]["prompt"])
    assert "<table>" in shown
    assert "a | b &lt;script&gt;" in shown
    for person in ("ann", "ben"):
        assert place.person(person) in shown
    deciding.submit({"t0001": [2, 1]}, comments={"t0001": "B cites the source"})

    answers = backend.answers(asked)
    assert len(answers) == 12
    rankings = {row["id"]: row for row in rankings_of(tasks, answers, "v", {"t0004"})}
    for ranking in rankings.values():
        check_ranking(ranking)  # the contract
    decided = {row["annotator"]: row["ranks"] for row in rankings["t0001"]["rankings"]}
    assert decided == {place.person("ann"): [1, 2], place.person("ben"): [2, 1], lead: [2, 1]}
    assert rankings["t0001"]["prompt"] == tasks[1]["prompt"]  # without the opinions
    facts = facts_of_project(read_project(project))
    assert facts.judged == 11 - 2 + 1
    assert facts.trust.table[lead]["submitted"] == 1
    assert facts.remarks == []

    ben.submit({"t0005": [2, 1]})  # divided since
    assert f"1 prompt is queued for {lead}" in run(lead)
    assert Annotator(accounts.key_of(argilla_server, lead), name, space).pending() == ["t0002", "t0005"]


def test_decisions_are_back_on_a_server_that_lost_its_data(
    argilla_server: Connection, argilla_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(argilla_server, argilla_home)
    team, lead = place.workspace, place.person("lead")
    project, tasks = tmp_path / "outputs" / team, make(5, responses=2)
    write_tasks(project, tasks, version=VERSION)
    asked = Round(team, "ranking", "Rank them.", [Queue(f"{team}-{VERSION[:6]}", tasks, 2)])

    def run(home: Path) -> str:
        capsys.readouterr()
        assert main(["adjudicate", str(project), "--home", str(home), "--by", lead]) == 0
        return capsys.readouterr().out

    def deciding(connection: Connection) -> Annotator:
        key = accounts.key_of(connection, lead)
        return Annotator(key, f"{team}-{VERSION[:6]}-adjudication", f"{team}-adjudication")

    backend = ArgillaBackend(argilla_server, print, argilla_home, project / ".answers")
    backend.publish(asked)
    for name, ranks in (("ann", [1, 2]), ("ben", [2, 1])):
        place.annotator(name, asked).submit({task["id"]: ranks for task in tasks})
    assert f"5 prompts are queued for {lead}" in run(argilla_home)
    leading = deciding(argilla_server)
    leading.submit({"t0000": [1, 2], "t0001": [1, 1]}, comments={"t0000": "A is right"})
    leading.discard({"t0002": "both are wrong"})
    given = backend.answers(asked)
    assert len(given) == 13

    said: list[str] = []
    home = tmp_path / "outputs" / ".argilla"  # where nothing is
    with serving(home, say=print) as connection:
        assert f"2 prompts are queued for {lead}" in run(home)  # without a decision; a tie and a discard are decisions
        backend = ArgillaBackend(connection, said.append, home, project / ".answers")
        assert backend.publish(asked) == 5
        assert any(f"'{team}-abc123-adjudication' was lost on the server: 3 answers ({lead} 3)" in one for one in said)
        assert backend.answers(asked) == given  # none lost, none doubled, with their times
        assert facts_of_project(read_project(project)).judged == 12
        said.clear()
        assert backend.publish(asked) == 0
        assert said == []
        assert "No further prompt" in run(home)
        leading = deciding(connection)
        assert leading.pending() == ["t0003", "t0004"]
        assert "<table>" in str(leading._records["t0000"]["fields"]["prompt"])
        leading.submit({"t0003": [2, 1]})
        assert len(backend.answers(asked)) == 14
