"""Shards as a user runs them: `stage=shard` for each, then `stage=data`, whose version is that of one run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.store.artifacts import Store
from tests.conftest import until

SHARDS = 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows of which some are copies of others, far away."""
    rows = [{"prompt": f"What is number {n} good for?", "completion": f"For {n * 7} things."} for n in range(200)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows[:40]]) + "broken\n")
    return path


def run(outputs: Path, file: Path, *request: str) -> int:
    return main([f"outputs={outputs}", f"data.path={file}", "tracking=off", "launch.data_processes=1", *request])


def shard(outputs: Path, file: Path, number: int) -> int:
    return run(outputs, file, "stage=shard", f"data.shards={SHARDS}", f"shard.number={number}")


def payload(outputs: Path) -> dict[str, str]:
    """The version of the data, and all that is in it but the log."""
    store = Store(outputs, "playground")
    made = store.open(*store.resolve("data"))
    texts = {name: made.file(name).read_text() for name in made.manifest["files"] if name != "log.txt"}
    return {"version": made.version, "metrics": json.dumps(made.metrics), **texts}


def is_begun(folder: Path) -> bool:
    """Whether an unfinished shard has its first rows."""
    rows = folder / "rows" / "rows.jsonl"
    return rows.exists() and rows.stat().st_size > 0 and not (folder / "manifest.json").exists()


def test_all_shards_merged_are_the_version_of_one_run(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In any order; until the last one is finished the merge is refused. Run again, nothing is made again."""
    outputs = tmp_path / "outputs"
    assert [shard(outputs, file, number) for number in (3, 1)] == [0, 0]
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 2
    assert "data: 1 of 3 shards of this request are not finished: 2." in " ".join(capfd.readouterr().err.split())
    assert shard(outputs, file, 2) == shard(outputs, file, 3) == 0
    assert "up to date" in capfd.readouterr().out
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}", "data.similarity=0.9") == 0
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 0
    assert "merged from 3 shards" in capfd.readouterr().out
    store = Store(outputs, "playground")
    assert len(store.versions("shard")) == SHARDS
    assert len(store.open(*store.resolve("data")).manifest["runtime"]["shards"]) == SHARDS
    assert run(tmp_path / "whole", file, "stage=data") == 0
    assert payload(outputs) == payload(tmp_path / "whole")
    capfd.readouterr()
    assert run(outputs, file, "stage=data") == 0
    assert "nothing to run" in capfd.readouterr().out


def test_shards_are_pruned_once_they_are_merged(tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each was a job's work, and only the last one is `latest`."""
    outputs = tmp_path / "outputs"
    store, prune = Store(outputs, "playground"), ["artifacts", "prune", f"outputs={outputs}"]
    assert [shard(outputs, file, number) for number in (1, 2)] == [0, 0]
    assert main(prune) == 0
    assert len(store.versions("shard")) == 2
    assert "kept 2 finished shards that no `data` has merged yet" in capfd.readouterr().out
    assert shard(outputs, file, 3) == run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 0
    assert main(prune) == 0
    assert store.versions("shard") == [store.resolve("shard")[1]]
    assert "no `data` has merged yet" not in capfd.readouterr().out


def test_shards_of_other_files_are_not_merged(tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    assert [shard(outputs, file, number) for number in (1, 2, 3)] == [0, 0, 0]
    file.write_text(file.read_text() + json.dumps({"prompt": "new", "completion": "row"}) + "\n")
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 2
    error = " ".join(capfd.readouterr().err.split())
    assert "3 of 3 shards of this request are not finished: 1-3. 3 finished shards are of other files" in error
    assert Store(outputs, "playground").versions("data") == []


@pytest.mark.slow
def test_a_killed_shard_is_read_again_and_the_others_stand(tmp_path: Path, file: Path) -> None:
    outputs = tmp_path / "outputs"
    rows = ({"prompt": f"What is {n} good for?", "completion": f"For {n * 7} and {n * 9} things."} for n in range(6600))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert shard(outputs, file, 1) == 0
    request = [f"outputs={outputs}", f"data.path={file}", "tracking=off", "launch.data_processes=1", "stage=shard"]
    command = [sys.executable, "-m", "pipeline", *request, f"data.shards={SHARDS}", "shard.number=2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: list(filter(is_begun, outputs.glob("playground/shard/*"))), "rows of the second shard")
        os.kill(process.pid, signal.SIGKILL)
    store = Store(outputs, "playground")
    before = store.versions("shard")
    assert (len(before), len(store.unfinished("shard"))) == (1, 1)
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 2
    assert [shard(outputs, file, number) for number in (1, 2, 3)] == [0, 0, 0]
    assert (len(store.versions("shard")), store.unfinished("shard")) == (SHARDS, [])
    assert run(outputs, file, "stage=data", f"data.shards={SHARDS}") == 0
    assert run(tmp_path / "whole", file, "stage=data") == 0
    assert payload(outputs) == payload(tmp_path / "whole")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (["stage=shard"], "data.shards has to be given"),
        (["stage=shard", "data.shards=4", "shard.number=5"], "shard.number=5: there are 4 shards"),
        (["stage=shard", "data.shards=4", "shard.format=alpaca"], "shard.format=alpaca: a shard follows data.format"),
        (["stage=shard", "data.shards=4", "shard.cleaning.markup=off"], "a shard follows data.cleaning"),
        (
            ["stage=shard", "data.shards=4", "shard.path=other.jsonl"],
            "a shard follows data.path",
        ),
    ],
)
def test_a_shard_that_nothing_would_merge_is_refused(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str], request_: list[str], message: str
) -> None:
    assert run(tmp_path / "outputs", file, *request_) == 2
    assert message in " ".join(capfd.readouterr().err.split())


def test_the_playground_has_no_shards(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([f"outputs={tmp_path}", "stage=shard", "data.shards=4"]) == 2
    error = " ".join(capfd.readouterr().err.split())
    assert "stage=shard: it is about files of your own" in error
    assert "data.shards=4: it is about files of your own" in error


@pytest.mark.slow
def test_a_sweep_makes_all_shards_at_the_same_time(tmp_path: Path, file: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = ["stage=shard", "data.shards=3", "shard.number=range(1,4)", "hydra/launcher=joblib"]
    assert run(tmp_path / "outputs", file, "-m", *sweep, "hydra.launcher.n_jobs=2") == 0
    assert run(tmp_path / "outputs", file, "stage=data", "data.shards=3") == 0
    assert run(tmp_path / "whole", file, "stage=data") == 0
    assert payload(tmp_path / "outputs") == payload(tmp_path / "whole")
