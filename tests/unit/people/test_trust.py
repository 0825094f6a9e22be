"""Annotators not to rely on, in what stages write and print."""

import json
from pathlib import Path

import pytest

from labeling.intervals import Estimate
from labeling.pace import Pace
from pipeline.__main__ import main
from pipeline.people.trust import read_suspects, write_annotators
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.unit.labeling.test_suspects import GOOD, Answer, blind, careful, rankings, turned


def test_a_file_s_spammers_are_named_with_the_line_that_leaves_their_votes_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ranked.jsonl"
    people: dict[str, Answer] = {**GOOD, "dora": careful, "o'neil": turned, "zed": blind}
    file.write_text("".join(json.dumps(row) + "\n" for row in rankings(people, 200, 3)))
    request = ["stage=preferences", f"outputs={tmp_path / 'outputs'}", "tracking=off", "labeling=file"]
    request += [f"labeling.path={file}", "preferences.judge_fraction=0"]

    def made(*more: str) -> tuple[tuple[float, float], dict[str, object], str]:
        assert main([*request, *more]) == 0
        store = Store(tmp_path / "outputs", "playground")
        preferences = store.open(*store.resolve("preferences"))
        table = json.loads(preferences.file("annotators.json").read_text())
        counts = preferences.metrics["annotators_at_chance"], preferences.metrics["annotators_inverse"]
        return counts, table, " ".join(capsys.readouterr().out.split())

    counts, table, said = made()
    assert counts == (1, 1)
    assert sorted(table) == sorted(people)
    assert "2 annotators are not to be relied on: o'neil ranks inversely (reliability -0." in said
    assert "zed is not distinguishable from chance (reliability " in said
    assert """Leave them out with 'preferences.exclude=["o'"'"'neil", "zed"]'""" in said
    counts, table, said = made('preferences.exclude=["o\'neil",zed]')
    assert counts == (0, 0)
    assert sorted(table) == ["ann", "ben", "cleo", "dora"]
    assert "relied" not in said


def test_the_table_has_every_measure_with_its_interval_and_what_was_known_before(tmp_path: Path) -> None:
    said: list[str] = []
    paces = {"zed": Pace(Estimate(3.0, 2.0, 4.0), 12.0, 30, 30)}
    metrics = write_annotators(
        {"ann": {"submitted": 7}}, rankings({**GOOD, "zed": blind}, 100, 3), tmp_path, said.append, paces=paces
    )
    table = json.loads((tmp_path / "annotators.json").read_text())
    assert list(table) == ["ann", "ben", "cleo", "zed"]
    assert table["ann"]["submitted"] == 7
    for about in table.values():
        for measure in ("reliability", "first"):
            assert about[measure]["low"] < about[measure]["high"]
    assert table["zed"]["seconds"] == {
        **{"value": 3, "low": 2, "high": 4},
        **{"reading": 12, "too_fast": 30, "timed": 30},
    }
    assert [one["reason"] for one in table["zed"]["suspect"]] == ["chance", "fast"]
    assert metrics == {"annotators_at_chance": 1, "annotators_inverse": 0, "annotators_fast": 1}
    (remark,) = said
    assert remark.endswith("""Leave them out with 'preferences.exclude=["zed"]'""")
    found = read_suspects(Artifact("collect", "v", tmp_path, {}, {}))
    assert [(one.name, one.reason) for one in found] == [("zed", "chance"), ("zed", "fast")]


def test_where_no_majority_agrees_it_is_not_claimed_that_no_annotator_is_at_chance(tmp_path: Path) -> None:
    said: list[str] = []
    assert write_annotators({}, rankings(dict.fromkeys(GOOD, blind), 100), tmp_path, said.append) == {}
    assert said == []


def test_without_shared_tasks_and_times_nothing_is_measured(tmp_path: Path) -> None:
    said: list[str] = []
    assert write_annotators({}, rankings({"ann": careful}, 30), tmp_path, said.append) == {}
    assert said == []
    assert read_suspects(Artifact("preferences", "v", tmp_path / "older", {}, {})) == []
