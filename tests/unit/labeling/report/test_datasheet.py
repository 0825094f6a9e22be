"""The datasheet: its counts are those of the rankings, both forms say the same, and no text breaks its form."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from labeling.__main__ import main
from labeling.exchange import read
from labeling.markdown import markdown_text
from labeling.records import stable_random
from labeling.report.datasheet import latex_text
from tests.labeling_projects import task, write_round
from tests.places import REAL
from tests.unit.labeling.report.test_report import HOSTILE, page

PANDALM = REAL / "rankings" / "pandalm_neutral.jsonl"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two rounds with other guidelines: 24 prompts of three people, and one prompt of one person."""
    folder = tmp_path / "outputs" / "support"
    tasks = [task(f"t{number}", f"Q{number}", ["a", "bb", "ccc"]) for number in range(24)]
    ranks = {
        name: {one["id"]: stable_random(name, one["id"]).choice([[1, 2, 3], [1, 1, 3], [2, 1, 3]]) for one in tasks}
        for name in ("ann", "ben", "c_l&o")
    }
    write_round(folder, tasks, ranks)
    alone = [task("x", "Q?", ["a", "b"])]
    write_round(folder, alone, {"ann": {"x": [1, 2]}}, version="bbb222bbb222", created="2026-11-09T08:00:00+00:00")
    (folder / "publish" / "bbb222bbb222" / "guidelines.md").write_text("Rank *them* again.\n```\n<b>")
    return folder


def written(project: Path, tmp_path: Path, suffix: str) -> str:
    target = tmp_path / f"sheet{suffix}"
    assert main(["export", str(project), "--datasheet", "--to", str(target), "--home", str(tmp_path / "none")]) == 0
    return page(target).text if suffix == ".html" else target.read_text()


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_the_datasheet_tells_who_how_many_by_which_guidelines_and_what_is_not_known(
    project: Path, tmp_path: Path, suffix: str
) -> None:
    text = written(project, tmp_path, suffix)
    plain = text if suffix == ".html" else re.sub(r"\\([\\`*_{}\[\]<>#|&~])", r"\1", text)
    for told in (
        "3 annotators, under pseudonyms: ann, ben, c_l&o.",
        "how they were found, trained and paid",
        "1 by 1, 24 by 3",
        "1 prompt (4%)",
        "The guidelines changed: there are 2 versions",
        "no prompts with known ranks",
        "no repeats",
        "Rank *them* again.",
        "73 rankings of the responses to 25 prompts (74 responses) from 3 annotators",
        "24 prompts were ranked by two or more",
        "Krippendorff's alpha (ordinal)",
        r"\begin{tabular}",
    ):
        assert told in plain
    assert "SIMULATED" not in text


def test_the_ties_are_counted_over_ordered_pairs(project: Path, tmp_path: Path) -> None:
    text = written(project, tmp_path, ".md")
    rows = [stable_random(n, f"t{k}").choice([[1, 2, 3], [1, 1, 3], [2, 1, 3]])
            for n in ("ann", "ben", "c_l&o") for k in range(24)]  # fmt: skip
    ties = sum(ranks == [1, 1, 3] for ranks in rows)
    assert f"{ties} of {3 * 72 + 1} ordered pairs" in text


def test_people_at_chance_and_simulated_annotators_are_called_so(tmp_path: Path) -> None:
    rows = [
        {"id": str(k), "prompt": f"Q{k}", "responses": ["a", "b"], "rankings": [{"annotator": "s1", "ranks": [1, 2]}]}
        for k in range(3)
    ]
    (tmp_path / "rankings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "manifest.json").write_text(json.dumps({"metrics": {"simulated": 1}}))
    text = written(tmp_path / "rankings.jsonl", tmp_path, ".md")
    for told in ("**annotators are SIMULATED**", "no person did", "(simulated)", "from 1 simulated annotators"):
        assert told in text
    assert "under pseudonyms" not in text


@pytest.mark.skipif(not PANDALM.is_file(), reason="PandaLM's rankings are not here")
def test_real_rankings_give_the_figures_that_labeling_measures(tmp_path: Path) -> None:
    text = written(PANDALM, tmp_path, ".md")
    rankings = read(PANDALM).rankings
    votes = sum(len(one["rankings"]) for one in rankings)
    assert f"We collected {votes:,} rankings of the responses to {len(rankings):,} prompts" in text
    assert "Krippendorff's alpha (nominal)" in text


@given(st.text() | st.just(HOSTILE) | st.text(alphabet="\\{}$&%#_^~<>|`*[]\n"))
def test_no_text_has_a_meaning_in_markdown_or_latex(text: str) -> None:
    html = MarkdownIt("commonmark").renderInline(markdown_text(text).strip())
    assert not re.search(r"<(?!/?p>)", html.replace("<br />", ""))
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]", "", latex_text(text))
    assert not set(bare) & set("\\&%$#_{}~^")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--datasheet", "--to", "a.pdf"], "its name ends with .html or .htm or .md"),
        (["--datasheet", "--format", "wide", "--to", "a.md"], "not allowed with argument"),
        (["--datasheet", "--to", "there.md"], "there.md exists"),
    ],
)
def test_a_wrong_request_ends_with_status_2(
    project: Path, arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.md").write_text("kept")
    assert main(["export", str(project), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / "there.md").read_text() == "kept"
