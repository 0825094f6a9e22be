"""What a new user meets: own files with the fewest words, refusals without traces, and whole commands after it."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import waiting_for
from pipeline.commands.next_steps import next_steps
from pipeline.commands.request import with_last_request
from pipeline.config import compose
from pipeline.config.remembered import FILE, Request, recall, remember, request_of
from pipeline.engine.planner import Planner, Step
from pipeline.errors import WaitingForPeople
from pipeline.store.artifacts import Store
from tests.conftest import commit, finish
from tests.unit.commands.conftest import Run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a file of demonstrations, whose name needs quotes."""
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"question {n} of {n * 7}", "output": f"answer {n * 3}"} for n in range(40)]
    (tmp_path / "my rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def command_after(word: str, out: str) -> list[str]:
    """The overrides of the command behind a word at the beginning of a line."""
    [line] = [line for line in out.splitlines() if line.startswith(word)]
    parts = shlex.split(line.removeprefix(word).partition("   (")[0])
    assert parts[:3] == ["python", "-m", "pipeline"]
    return parts[3:]


# -- the user's own files


def test_a_file_alone_is_read_and_the_next_command_is_whole(here: Path, said: Run) -> None:
    own = ("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off")
    status, out, _ = said(*own)
    assert status == 0
    assert out.splitlines()[0] == "data.path is given, so data=files"
    assert "40 rows" in out
    assert command_after("Next", out) == ["stage=sft", *own[1:]]
    assert "model.path=DIR_OR_HUB_ID" in out  # else the playground's tiny base learns from these rows
    assert "Later   Who is to rank?" in out


def test_status_goes_by_the_last_request(here: Path, said: Run) -> None:
    said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off", "seed=3")
    status, out, _ = said("status", "project=support")
    assert status == 0
    assert re.search(r"^ data +\w{4} +done", out, re.M)
    assert "last request, just now: python -m pipeline stage=data" in out
    assert command_after("Next", out) == [
        "stage=sft",
        "project=support",
        "data.path=my rows.jsonl",
        "tracking=off",
        "seed=3",
    ]
    shown = said("status", "project=support", "seed=4", "stage=sft")[1]  # what is given here wins
    assert {"seed=4", "stage=sft", "data.path=my rows.jsonl"} <= set(command_after("Next", shown))


def test_the_last_of_two_requests_counts(here: Path, said: Run) -> None:
    for seed in ("1", "2"):
        said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off", f"seed={seed}")
    last = recall(here / "outputs" / "support")
    assert last is not None
    assert "seed=2" in last.overrides
    assert "seed=1" not in last.overrides


def test_plans_are_not_remembered_and_say_how_they_are_run(here: Path, said: Run) -> None:
    own = ("stage=data", "project=support", "data.path=my rows.jsonl")
    status, out, _ = said(*own, "plan=true")
    assert (status, command_after("Run", out)) == (0, list(own))
    shard = ("stage=shard", *own[1:], "data.shards=2", "shard.number=2", "tag=friday")
    assert command_after("Run", said(*shard, "plan=true")[1]) == list(shard)
    assert not (here / "outputs").exists()


def test_a_sweep_remembers_its_last_request(here: Path, said: Run) -> None:
    status, out, _ = said("-m", "stage=data", "project=s", "data.path=my rows.jsonl", "tracking=off", "data.seed=1,2")
    assert status == 0
    assert out.count("Made    ") == 2
    assert "data.seed=2" in recall(here / "outputs" / "s").overrides  # type: ignore[union-attr]
    assert sorted(os.listdir(here / "outputs")) == ["s"]  # and Hydra leaves nothing beside it


def test_a_request_that_leaves_out_what_the_last_one_named_is_told_so(here: Path, said: Run) -> None:
    said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off")
    out = said("stage=data", "project=support", "plan=true")[1]
    assert "unlike the last request of this project, this one does not have 'data.path=my rows.jsonl'" in out
    assert "unlike" not in said("stage=data", "project=support", "data.path=my rows.jsonl", "plan=true")[1]
    assert "unlike" not in said("stage=data", "project=support", "data=playground", "plan=true")[1]


# -- refusals


@pytest.mark.parametrize(
    "request_",
    [
        "stage=data data.path=nowhere.jsonl",
        "stage=data data.path=empty.jsonl",
        "stage=data data.path=broken.jsonl",
        "-m stage=data data.path=nowhere.jsonl seed=1,2",
        "stage=sft model.path=./nowhere",
        "--stage data",
        "data=playground data.path=empty.jsonl",
    ],
)
def test_a_refused_request_leaves_no_folder(here: Path, said: Run, request_: str) -> None:
    (here / "empty.jsonl").write_text("")
    (here / "broken.jsonl").write_text("{\n")
    before = set(os.listdir(here))
    status, _, err = said(*request_.split(), "project=support", "tracking=off")
    assert (status, err.startswith("Error: ")) == (2, True)
    assert set(os.listdir(here)) == before


def test_a_refused_request_does_not_replace_the_last_one(here: Path, said: Run) -> None:
    said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off")
    kept = (here / "outputs" / "support" / FILE).read_text()
    (here / "empty.jsonl").write_text("")
    assert said("stage=data", "project=support", "data.path=empty.jsonl", "tracking=off")[0] == 2
    assert (here / "outputs" / "support" / FILE).read_text() == kept
    assert len(Store(here / "outputs", "support").unfinished("data")) == 0


def test_a_missing_artifact_is_made_by_the_projects_own_request(here: Path, said: Run) -> None:
    said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off")
    _, _, err = said("artifacts", "show", "sft", "project=support")
    assert "Run `python -m pipeline stage=sft project=support 'data.path=my rows.jsonl' tracking=off` first" in err
    assert "Project support has one: project=support." in said("artifacts", "show", "data")[2]


# -- what is remembered


@pytest.fixture
def project(here: Path, store: Store, finished: dict[str, Step]) -> Request:
    """The finished chain of the playground, as another project that was made with settings of its own."""
    request = request_of(["project=support", "dpo.beta=0.3", "labeling=simulated", f"outputs={here / 'outputs'}"])
    support = Store(store.root.parent, "support")
    config = compose.load([*request.overrides])
    for step in Planner(config, support).plan():
        finish(support, step)
    remember(support.root, request)
    return request


def test_a_finished_project_is_finished_by_its_name_alone(project: Request, said: Run, here: Path) -> None:
    status, out, _ = said("status", "project=support")
    assert status == 0
    assert "missing" not in re.sub(r" export .*", "", out)
    assert "Report  " in out
    assert command_after("Next", out) == ["chat", "sft", "dpo", "ppo", *project.place()]
    again = shlex.split(out[out.index("Next") :].splitlines()[1].partition("   (")[0])[3:]
    assert again == ["stage=evaluate", "project=support", "dpo.beta=0.1", *project.overrides[2:]]


@pytest.mark.parametrize("name", ["sft", "dpo", "reward", "preferences", "sample", "evaluate"])
def test_every_stage_ends_with_what_comes_next(project: Request, name: str, here: Path) -> None:
    asked = with_last_request(["project=support", f"stage={name}"])
    step = Planner(asked.config, asked.store).step(name)
    shutil.rmtree(asked.store.root / "compare")
    (asked.store.root / "compare").mkdir()
    commands = [
        text for _, text in next_steps(step, asked.config, asked.store, asked.request) if text.startswith("python")
    ]
    assert commands
    for command in commands:
        given = shlex.split(command.partition("   (")[0])[3:]
        assert "chat" in given or set(project.overrides) <= set(given)


def test_a_request_that_is_none_any_more_is_said_and_set_aside(here: Path, said: Run) -> None:
    commit(Store(here / "outputs", "support"), "sft", "aa11")
    remember(here / "outputs" / "support", request_of(["project=support", "sft.gone=1"]))
    status, out, _ = said("status", "project=support")
    assert status == 0
    assert "The last request is no longer valid" in out
    assert "sft.gone: no such key" in out


def test_a_project_that_was_copied_says_which_path_is_gone(
    here: Path, said: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said("stage=data", "project=support", "data.path=my rows.jsonl", "tracking=off")
    shutil.copytree(here / "outputs", here / "elsewhere" / "outputs")
    monkeypatch.chdir(here / "elsewhere")
    status, out, _ = said("status", "project=support")
    assert status == 0
    assert "Not possible: data.path: No such file or folder: my rows.jsonl" in out
    assert f"Relative paths of the last request are meant from {here}" in out


def test_without_a_last_request_status_is_about_the_default_one(here: Path, said: Run) -> None:
    status, out, _ = said("status", "project=fresh")
    assert (status, "last request" in out) == (0, False)
    assert command_after("Next", out) == ["project=fresh"]


# -- waiting, and lists


def test_waiting_for_people_repeats_the_whole_request() -> None:
    request = Request(("project=support", "data.path=my rows.jsonl", "collect.wait=true", "tag=friday"))
    text = waiting_for(WaitingForPeople("Waiting", "collect", "3 prompts"), request)
    assert command_after("Continue", text) == [*request.overrides]
    assert command_after("Use what is there now:", text) == [*request.overrides, "collect.accept=partial"]
    assert text.count("collect.wait=true") == 3  # given once in each command


def test_ls_without_a_project_lists_all(here: Path, said: Run) -> None:
    for name in ("one", "two"):
        commit(Store(here / "outputs", name), "sft", f"{name}11")
    status, out, _ = said("artifacts", "ls")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["one", "sft@one11", "two", "sft@two11"]
    assert "sft@two11" not in said("artifacts", "ls", "project=one")[1]
    assert said("artifacts", "ls", "dpo")[0] == 2


def test_dumps_have_what_follows(here: Path, said: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    status, out, _ = said("data.path=my rows.jsonl", "--cfg", "job")
    assert status == 0
    assert "source: files" in out
