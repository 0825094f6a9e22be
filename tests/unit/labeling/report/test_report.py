"""The page for the labeling lead: what it tells, from a project's copies or a file, and that no text is markup."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from labeling.__main__ import main
from labeling.agreement_intervals import agreement_intervals
from labeling.projects import read_project
from labeling.records import Ranking, stable_random
from labeling.report.facts import facts_of_project, hardest
from labeling.suspects import exclusion, standings, suspects
from tests.labeling_projects import task, write_round

HOSTILE = "</style><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\x00\u202e\ud800"
PEOPLE = ("ann", "ben", "cleo", "zed")


class Elements(HTMLParser):
    """The elements of a page, its attributes, and its text outside of the style sheet."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.in_style else data


def page(path: Path) -> Elements:
    found = Elements()
    found.feed(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A team of four: three agree but for some noise, zed ranks inversely; and two prompts of everybody with checks."""
    folder = tmp_path / "outputs" / "support"
    tasks = [task(f"t{number:02}", f"Question {number}?", [f"{number} a", f"{number} b", "c"]) for number in range(30)]
    everybody = [task("e0", "Two?", ["one", "two", "three"]), task("again", "Two?", ["three", "one", "two"])]
    everybody.append(task("gold", "Gold?", ["good", "bad", "worse"]))
    given = {name: {} for name in PEOPLE}
    for one in tasks:
        for name in PEOPLE:
            ranks = [1, 2, 3] if stable_random(name, one["id"]).random() < 0.85 else [2, 1, 3]
            given[name][one["id"]] = ranks if name != "zed" else [4 - rank for rank in ranks]
    for name in PEOPLE:
        given[name] |= {"e0": [1, 2, 3], "again": [3, 1, 2], "gold": [1, 2, 3] if name != "zed" else [3, 2, 1]}
    given["cleo"]["t00"] = []
    checks = {"repeats": {"again": {"task": "e0", "slots": [2, 0, 1]}}, "gold": {"gold": [1, 2, 3]}}
    write_round(
        folder, tasks, given, everybody=everybody, checks=checks, comments={"ben": HOSTILE.replace("\ud800", "")}
    )
    return folder


def test_the_page_names_suspects_with_the_line_that_leaves_them_out_before_anything_else(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(project), "--home", str(tmp_path / "none"), "--to", str(tmp_path / "r.html")]) == 0
    said = capsys.readouterr()
    assert "1 annotator is not to be relied on: zed ranks inversely" in said.out
    assert "answers as of their last copy" in said.err
    text = page(tmp_path / "r.html").text
    rankings = facts_of_project(read_project(project)).rankings
    line = exclusion(suspects(standings(rankings), {}))
    assert 0 < text.index(line) < text.index("Progress") < text.index("Agreement") < text.index("The hardest prompts")
    assert "zed" in line


def test_the_figures_are_those_of_the_rankings_without_repeats_and_gold(project: Path, tmp_path: Path) -> None:
    facts = facts_of_project(read_project(project))
    assert {ranking["id"].rpartition("/")[2] for ranking in facts.rankings} == {
        "e0",
        *(f"t{number:02}" for number in range(30)),
    }
    assert facts.agreement == agreement_intervals(facts.rankings, 0)
    assert facts.judged == 31 * 4 - 1
    assert facts.trust.table["zed"]["accuracy"]["share"] == 0.0
    assert facts.trust.table["ann"]["accuracy"]["share"] == 1.0
    assert facts.trust.table["ann"]["consistency"]["share"] == 1.0
    assert facts.trust.table["cleo"]["discarded"] == 1
    assert facts.trust.table["ann"]["seconds"]["value"] == 60.0
    (progress,) = facts.progress
    assert (progress.tasks, progress.answers, progress.discarded) == (33, 132, 1)
    assert progress.by_answers == {4: 33}
    assert main(["report", str(project), "--home", str(tmp_path / "none"), "--to", str(tmp_path / "r.html")]) == 0
    text = page(tmp_path / "r.html").text
    for estimate in facts.agreement.values():
        assert f"{estimate.value:.2f}" in text
        assert f"{estimate.low:.2f} to {estimate.high:.2f}" in text


def test_no_prompt_answer_comment_or_name_is_markup(tmp_path: Path) -> None:
    rows = [
        Ranking(
            id=HOSTILE,
            prompt=HOSTILE,
            responses=[HOSTILE, "b"],
            rankings=[
                {"annotator": f"{HOSTILE} 1", "ranks": [1, 2], "comment": HOSTILE},
                {"annotator": f"{HOSTILE} 2", "ranks": [2, 1], "comment": HOSTILE},
            ],
        )
    ]
    file = tmp_path / "<b>.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["report", str(file), "--to", str(tmp_path / "r.html")]) == 0
    seen = page(tmp_path / "r.html")
    assert seen.tags.isdisjoint({"script", "img"})
    assert not {name for name in seen.names if name.startswith("on") or name in ("src", "href")}
    assert "alert(1)" in seen.text
    assert seen.text.count("<script>") >= 5  # as text
    raw = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in raw
    assert not set(raw) & {chr(code) for code in range(32) if chr(code) != "\n"}


def test_the_hardest_prompts_come_in_order_and_those_on_which_all_agree_do_not() -> None:
    def asked(name: str, *ranks: list[int]) -> Ranking:
        rows = [{"annotator": f"a{number}", "ranks": own} for number, own in enumerate(ranks)]
        return Ranking(id=name, prompt="?", responses=["x", "y", "z"], rankings=rows)  # type: ignore[typeddict-item]

    rankings = [
        asked("same", [1, 2, 3], [1, 2, 3]),
        asked("one swap", [1, 2, 3], [2, 1, 3]),
        asked("reversed", [1, 2, 3], [3, 2, 1]),
        asked("reversed, and by more", [1, 1, 1], [1, 2, 3], [3, 2, 1]),
        asked("alone", [1, 2, 3]),
    ]
    found = hardest(rankings, 10)
    assert [one.ranking["id"] for one in found] == ["reversed, and by more", "reversed", "one swap"]
    assert [round(one.agreement, 2) for one in found] == [0.0, 0.0, 0.67]
    assert hardest(rankings, 1) == found[:1]


def test_two_rounds_with_the_same_ids_are_not_mixed_up(tmp_path: Path) -> None:
    folder = tmp_path / "support"
    for version, good in (("aaaaaa111111", [1, 2]), ("bbbbbb222222", [2, 1])):
        checks = {"gold": {"g": good}}
        given = {name: {"g": [1, 2], "t": good} for name in ("ann", "ben")}
        asked = [task("g", version, ["x", "y"])]
        write_round(folder, [task("t", version, ["p", "q"])], given, version=version, everybody=asked, checks=checks)
    facts = facts_of_project(read_project(folder))
    assert [[row["ranks"] for row in ranking["rankings"]] for ranking in facts.rankings] == [
        [[1, 2], [1, 2]],
        [[2, 1], [2, 1]],
    ]
    assert facts.trust.table["ann"]["accuracy"] == {**facts.trust.table["ann"]["accuracy"], "share": 0.5, "tasks": 2}
    assert len(facts.progress) == 2


def test_answers_without_their_tasks_and_answers_to_other_tasks_are_counted_and_left_out(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_round(project, [task("x", "?", ["a", "b"])], {"ann": {"x": [1, 2]}}, version="fff000fff000")
    (project / "publish" / "fff000fff000" / "manifest.json").unlink()
    tasks = project / "publish" / "abc123def456" / "tasks.jsonl"
    tasks.write_text(tasks.read_text().replace("Question 3?", "Another question?"))
    assert main(["report", str(project), "--home", str(tmp_path / "none"), "--to", str(tmp_path / "r.html")]) == 0
    said = capsys.readouterr().err
    assert "1 answers (ann 1) are left out: the tasks of publish fff000 are gone" in said
    assert "4 answers (ann 1, ben 1, cleo 1, zed 1) are left out: publish abc123 has other texts" in said
    assert "are gone" in page(tmp_path / "r.html").text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "There is no project, folder or file 'nowhere'"),
        ([], "No project is known here. Name one, or its folder"),
        (["empty"], "has no copies of people's answers"),
        (["empty/../silent"], "has no answers of people yet"),
        (["empty", "--prompts", "-1"], "--prompts must be 0 or more"),
        (["empty", "--to", "r.pdf"], "its name ends with .html"),
        (["broken"], "line 1: not an answer"),
    ],
)
def test_what_cannot_be_reported_on_ends_with_status_2_and_a_word(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "silent" / ".answers").mkdir(parents=True)
    (tmp_path / "broken" / ".answers").mkdir(parents=True)
    (tmp_path / "broken" / ".answers" / "team-abc123.jsonl").write_text("{}\n")
    assert main(["report", *arguments]) == 2
    assert re.sub(r"\s+", " ", capsys.readouterr().err).count(told) == 1
    assert not list(tmp_path.glob("*.html"))


def test_simulated_annotators_are_called_so_and_what_collect_knows_of_them_is_shown(tmp_path: Path) -> None:
    rows = [{"annotator": name, "ranks": [1, 2]} for name in ("simulated1", "simulated2")]
    (tmp_path / "rankings.jsonl").write_text(
        json.dumps({"id": "1", "prompt": "?", "responses": ["a", "b"], "rankings": rows}) + "\n"
    )
    about = {"simulated1": {"submitted": 7, "consistency": {"share": 0.25, "comparisons": 4, "low": 0.1, "high": 0.4}}}
    (tmp_path / "annotators.json").write_text(json.dumps(about))
    (tmp_path / "manifest.json").write_text(json.dumps({"metrics": {"simulated": 1.0}}))
    assert main(["report", str(tmp_path), "--to", str(tmp_path / "r.html")]) == 0
    text = page(tmp_path / "r.html").text
    assert "annotators are SIMULATED" in text
    assert "A program ranked these answers" in text
    assert "0.25" in text
