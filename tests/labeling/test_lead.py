"""What a lead asks of a real Argilla: the report, the ledger, the datasheet, and how a blind test stands."""

import csv
import io
from pathlib import Path

import pytest

from labeling.__main__ import main
from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Queue, Round
from labeling.guidelines import version_of
from labeling.projects import read_project
from labeling.report.facts import facts_of_project
from labeling.rounds import rankings_of
from labeling.sequential import Tally, always_valid, rate_text, shows_difference
from labeling.server import Connection
from labeling.server.accounts import checked
from tests.labeling.asking import Place, make
from tests.labeling_projects import write_blind, write_tasks

VERSION, EVALUATION = "abc123def456", "eee111eee111"


@pytest.fixture
def place(argilla_server: Connection, argilla_home: Path) -> Place:
    return Place(argilla_server, argilla_home)


def test_the_report_the_ledger_and_the_datasheet_have_exactly_what_people_answered_on_the_page(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "outputs" / place.workspace
    tasks = make(24, responses=3)
    write_tasks(project, tasks[:20], everybody=tasks[20:], checks={"gold": {"t0023": [1, 2, 3]}}, version=VERSION)
    name = f"{place.workspace}-{VERSION[:6]}"
    queues = [Queue(name, tasks[:20], 3), Queue(f"{name}-calibration", tasks[20:], 3)]
    asked = Round(place.workspace, "ranking", "Rank them.", queues)
    backend = ArgillaBackend(place.connection, print, place.home, project / ".answers")
    backend.publish(asked)
    for annotator, ranks in (("ann", [1, 2, 3]), ("ben", [1, 1, 3]), ("zed", [3, 2, 1])):
        for queue in queues:
            one = place.annotator(annotator, Round(place.workspace, "ranking", "Rank them.", [queue]))
            given = {task["id"]: ranks for task in queue.tasks if (annotator, task["id"]) != ("ben", "t0000")}
            one.submit(given, comments={"t0001": f"{annotator}: <i>unclear</i>"} if queue is queues[0] else None)
            if annotator == "ben" and queue is queues[0]:
                one.discard({"t0000": "none is right"})
    capsys.readouterr()
    page, sheet = tmp_path / "r.html", tmp_path / "d.md"
    source = [str(project), "--home", str(place.home)]
    assert main(["report", *source, "--to", str(page)]) == 0
    assert main(["export", str(project), "--datasheet", "--to", str(sheet), "--home", str(place.home)]) == 0
    capsys.readouterr()
    assert main(["ledger", *source]) == 0
    rows = {row["annotator"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}

    answers = backend.answers(asked)
    expected = rankings_of(tasks, answers, version_of("Rank them."), {"t0023"})
    facts = facts_of_project(read_project(project))
    strip = [{**row, "id": row["id"].rpartition("/")[2]} for row in facts.rankings]
    assert sorted(strip, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])
    html = page.read_text()
    assert f"{name} 19 of 20 complete" in html  # Argilla counts submitted answers alone
    assert "&lt;i&gt;unclear&lt;/i&gt;" in html
    assert f"We collected {sum(len(row['rankings']) for row in expected)} rankings" in sheet.read_text()
    person = {annotator: rows[place.person(annotator)] for annotator in ("ann", "ben", "zed")}
    assert [one["submitted"] for one in person.values()] == ["24", "23", "24"]
    assert [one["gold_failed"] for one in person.values()] == ["0", "1", "1"]
    assert [one["discarded"] for one in person.values()] == ["0", "1", "0"]


def test_an_answer_that_was_withdrawn_counts_for_the_lead_as_it_does_for_collect(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tasks = tmp_path / "outputs" / place.workspace, make(6, responses=2)
    write_tasks(project, tasks, version=VERSION)
    asked = Round(place.workspace, "ranking", "Rank.", [Queue(f"{place.workspace}-{VERSION[:6]}", tasks, 2)])
    backend = ArgillaBackend(place.connection, print, place.home, project / ".answers")
    backend.publish(asked)
    ann, ben = (place.annotator(name, asked) for name in ("ann", "ben"))
    for person in (ann, ben):
        person.submit({task["id"]: [1, 2] for task in tasks})

    def told() -> dict[str, tuple[str, str]]:
        """Each annotator's submitted and discarded answers in the ledger; the report's rankings are collect's."""
        capsys.readouterr()
        assert main(["ledger", str(project), "--home", str(place.home)]) == 0
        rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
        facts = facts_of_project(read_project(project))
        expected = rankings_of(tasks, backend.answers(asked), version_of("Rank them."))
        assert [row["rankings"] for row in facts.rankings] == [row["rankings"] for row in expected]
        assert facts.progress[0].answers == len(backend.answers(asked))
        return {row["annotator"].partition("-")[0]: (row["submitted"], row["discarded"]) for row in rows}

    assert told() == {"ann": ("6", "0"), "ben": ("6", "0")}
    ann.draft({"t0000": [2, 1]})
    ann.discard({"t0001": "unclear"})
    assert told() == {"ann": ("4", "1"), "ben": ("6", "0")}
    with place.key("ann").client() as client:
        records = place.annotator("ann", asked)._records
        checked(client.delete(f"/responses/{records['t0002']['responses'][0]['id']}"))
    assert told() == {"ann": ("3", "1"), "ben": ("6", "0")}
    assert f"1 answers ({place.person('ann')} 1) do not count" in read_project(project).remarks[0]
    ann.submit({"t0000": [1, 2], "t0002": [1, 2]})  # they come back
    assert told() == {"ann": ("5", "1"), "ben": ("6", "0")}
    with place.connection.client() as client:
        (user,) = [one for one in checked(client.get("/users"))["items"] if one["username"] == place.person("ben")]
        checked(client.delete(f"/users/{user['id']}"))  # Argilla deletes the answers with the account
    assert told() == {"ann": ("5", "1")}


def test_status_tells_at_any_look_how_a_blind_test_stands(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "outputs" / place.workspace
    tasks = make(40, responses=2)
    write_blind(project, tasks, ("ppo", "dpo"), "ddd222ddd222", EVALUATION)
    queue = Queue(f"{place.workspace}-abtest-{EVALUATION[:6]}", tasks, 2)
    asked = Round(place.workspace, "pairwise", "Which is better?", [queue])
    backend = ArgillaBackend(place.connection, print, place.home, project / ".answers")
    backend.publish(asked)
    people = [place.annotator(name, asked) for name in ("ann", "ben")]

    def told() -> str:
        assert main(["status", "--home", str(place.home)]) == 0
        lines = capsys.readouterr().out.splitlines()
        return next((line for line in lines if line.startswith(f"{place.workspace}: ")), "")

    assert told() == ""  # no answer, so no copy yet
    better = {task["id"]: [1, 2] if number % 2 == 0 else [2, 1] for number, task in enumerate(tasks)}  # ppo's, always
    people[0].submit({task["id"]: better[task["id"]] for task in tasks[:10]})
    people[1].submit({task["id"]: better[task["id"]] for task in tasks[:6]})
    few = Tally(6, 0, 0)  # pairs with one of two verdicts are not judged yet
    assert not shows_difference(always_valid(few))
    assert f"People show no preference so far: ppo wins {rate_text(always_valid(few))} of 6 judged" in told()
    for person in people:
        person.submit({task["id"]: better[task["id"]] for task in tasks[10:36]})
    people[1].submit({task["id"]: better[task["id"]] for task in tasks[6:10]})
    many = Tally(36, 0, 0)
    assert shows_difference(always_valid(many))
    said = told()
    assert f"People prefer ppo to dpo: ppo wins {rate_text(always_valid(many))} of 36 judged prompts" in said
    assert "40 prompts are asked about" in said
