"""`labeling.gold`: rankings that are known to be right are mixed into the tasks that all annotators get."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.rows import read_jsonl
from tests.stages.conftest import Chain

GOLD = {"id": "g", "prompt": "How many legs has a cat?", "responses": ["four", "five"]}
RANKED = {**GOLD, "rankings": [{"annotator": "lead", "ranks": [1, 2]}]}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    file = folder / "gold.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"labeling.gold={file}"


def test_gold_is_a_task_like_the_others_and_its_ranks_follow_its_slots(chain: Chain, tmp_path: Path) -> None:
    made = chain.make("publish", written(tmp_path, RANKED))
    assert made.metrics["gold"] == 1
    ((task, ranks),) = json.loads(made.file("checks.json").read_text())["gold"].items()
    (shown,) = (row for row in read_jsonl(made.file("calibration.jsonl")) if row["id"] == task)
    assert shown["prompt"] == [{"role": "user", "content": GOLD["prompt"]}]
    assert dict(zip(shown["responses"], ranks, strict=True)) == {"four": 1, "five": 2}


def test_how_the_file_was_read_is_told(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two rankings of one prompt by one person the later one counts."""
    other = RANKED | {"id": "h", "rankings": [{"annotator": "lead", "ranks": [2, 1]}]}
    made = chain.make("publish", written(tmp_path, RANKED, other))
    printed = capsys.readouterr().out
    assert made.metrics["gold"] == 1
    assert "labeling.gold: gold.jsonl: read as rankings: prompt from `prompt`" in printed
    assert "labeling.gold: Votes that the same annotator changed later: the later vote counts: 1" in printed


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "?", "chosen": "four", "rejected": "five"}], "these are pairs; gold has to be rankings"),
        ([{"prompt": "?", "completion": "four", "label": True}], "marked one by one; gold has to be rankings"),
        ([RANKED | {"rankings": [{"annotator": n, "ranks": [1, 2]} for n in ("lead", "ann")]}], "labeling.gold"),
    ],
)
def test_other_files_are_refused(
    chain: Chain, rows: list[dict[str, Any]], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.make("sample")
    assert chain.run("stage=publish", written(tmp_path, *rows)) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
