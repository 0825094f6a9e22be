"""Commands: status, chat, wrong requests, words."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.__main__ import main
from pipeline.commands.wording import age_text, size_text
from pipeline.config.nodes.models import DecodingConfig
from pipeline.engine.planner import Step
from pipeline.errors import RequestError
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import MANIFEST, Store
from tests.conftest import commit
from tests.unit.commands.conftest import Run

SLOW_LIBRARIES = {
    *("torch", "transformers", "trl", "peft", "datasets", "argilla", "scipy", "sklearn", "pandas", "pyarrow"),
}
SECONDS = 3.0  # of CPU: another process on the same cores must not fail a test


def process(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], input=given, capture_output=True, text=True, check=False
    )


def test_status_of_an_empty_folder_says_how_to_begin(asked: Run, outputs: Path) -> None:
    status, out, _ = asked("status")
    assert status == 0
    assert "Nothing has been made in this project yet." in out
    assert f"Next python -m pipeline outputs={outputs} (makes " in out
    assert not outputs.exists()  # looking leaves nothing behind


def test_status_of_a_finished_project(asked: Run, finished: dict[str, Step], outputs: Path) -> None:
    status, out, _ = asked("status")
    assert status == 0
    for name, step in finished.items():
        assert f"{name} {step.version[:4]} done just now" in out
    assert "eval loss 1.25, 9 rows" in out
    assert "export " in out
    assert f"Report {outputs}/playground/compare/{finished['compare'].version}/report.html" in out
    assert "Next python -m pipeline chat sft dpo" in out


def test_status_says_what_this_request_would_make(asked: Run, finished: dict[str, Step], store: Store) -> None:
    status, out, _ = asked("status", "dpo.beta=0.37")
    assert status == 0
    assert re.search(r"sft \w{4} done", out)
    before = finished["dpo"]
    why = f"differs from {before.version[:4]}: beta {before.config.beta} -> 0.37"
    assert re.search(rf"dpo \w{{4}} missing {why}", out)
    assert re.search(r"Next python -m pipeline dpo.beta=0.37 outputs=\S+ \(makes dpo, evaluate, compare\)", out)


def test_status_tells_unfinished_from_being_made(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    version = finished["sft"].version
    (store.directory("sft", version) / MANIFEST).unlink()
    assert f"sft {version[:4]} unfinished" in asked("status")[1]
    with store.writing("sft", version):
        assert f"sft {version[:4]} being made by process {os.getpid()}" in asked("status")[1]


def test_status_shows_a_damaged_manifest_and_goes_on(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    (store.directory("sft", finished["sft"].version) / MANIFEST).write_text("{")
    status, out, _ = asked("status")
    assert status == 0
    assert f"sft {finished['sft'].version[:4]} damaged" in out
    assert f"dpo {finished['dpo'].version[:4]} done" in out


def test_status_of_a_request_that_is_possible_in_part(asked: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "greet", "output": "hello"}\n')
    status, out, _ = asked("status", "data=files", f"data.path={file}")
    assert status == 0
    assert "Not possible: Who is to rank? Simulated annotators know good answers in the playground only" in out


def test_status_names_the_other_projects(asked: Run, outputs: Path, finished: dict[str, Step]) -> None:
    commit(Store(outputs, "support"), "sft", "aa11")
    (outputs / "notes").mkdir()
    assert "Others support (" in asked("status")[1]
    assert "Others playground (" in asked("status", "project=support")[1]


class Echo:
    """In the place of a policy: says how long the conversation is that it sees, and the last words of it."""

    def __init__(self, artifact: Artifact, context: StageContext, seed: int, beside: Iterable["Echo"]) -> None:
        self.name, self.seed = artifact.reference, seed

    def draw(self, prompts: list[list[dict[str, str]]], decoding: DecodingConfig, what: str) -> list[SimpleNamespace]:
        [messages] = prompts
        if messages[-1]["content"] == "long":
            raise RequestError("A prompt of 300 tokens fills the whole context.")
        text = f"{self.name} {len(messages)} {messages[-1]['content']} {self.seed} {decoding.max_new_tokens}"
        return [SimpleNamespace(text=text, ids=[1], stopped=messages[-1]["content"] != "cut")]


@pytest.fixture
def talk(asked: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What two policies answer to lines from a pipe."""
    monkeypatch.setitem(sys.modules, "pipeline.modeling.answering", SimpleNamespace(Answerer=Echo))
    commit(store, "sft", "aa11")
    commit(store, "dpo", "bb22")

    def run(lines: str, *arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        status, out, err = asked("chat", *arguments)
        assert (status, err) == (0, "")
        return [line for line in out.splitlines() if "> " in line]

    return run


def test_chat_asks_every_policy_and_keeps_a_history_for_each(talk: Callable[..., list[str]]) -> None:
    assert talk("hi\nthere\n", "sft", "dpo@bb", "evaluate.decoding.max_new_tokens=9") == [
        "sft> sft@aa11 1 hi 0 9",
        "dpo@bb> dpo@bb22 1 hi 0 9",
        "sft> sft@aa11 3 there 1 9",
        "dpo@bb> dpo@bb22 3 there 1 9",
    ]


def test_chat_begins_anew_and_ends(talk: Callable[..., list[str]]) -> None:
    lengths = [line.split()[2] for line in talk("a\nb\n/reset\n/wat\n\nc\n/quit\nd\n", "sft")]
    assert lengths == ["1", "3", "1"]


def test_chat_goes_on_after_a_conversation_that_became_too_long(talk: Callable[..., list[str]]) -> None:
    _, second, third = talk("a\nlong\ncut\n", "sft", "evaluate.decoding.max_new_tokens=9")
    assert "fills the whole context. /reset begins anew" in second
    assert third == "sft> sft@aa11 3 cut 2 9 …"  # what was too long is not part of it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["artifacts", "lss"], "no such verb. Did you mean 'ls'?"),
        (["artifacts"], "required: VERB"),
        (["artifacts", "tag", "sft"], "required: NAME"),
        (["artifacts", "ls", "sfft"], "Did you mean 'sft'?"),
        (["artifacts", "ls", "sft"], "No finished 'sft' artifact"),
        (["artifacts", "show", "sfft"], "Did you mean 'sft'?"),
        (["artifacts", "show", "../secret@latest"], "is not a stage"),
        (["artifacts", "path", "sft@friday"], "No finished 'sft' artifact"),
        (["artifacts", "tag", "sft", "latest"], "choose another tag"),
        (["artifacts", "prune", "--all"], "unrecognized arguments: --all"),
        (["artifacts", "ls", "sft.epoch=3"], "Did you mean 'sft.epochs'?"),
        (["status", "now"], "unrecognized arguments: now"),
        (["status", "sft"], "Did you mean 'stage=sft'?"),
        (["status", "--project", "support"], "Did you mean 'project=support'?"),
        (["status", "stage=sfft"], "Did you mean 'sft'?"),
        (["status", "stage=prefix"], "no such stage"),
        (["chat"], "required: REF"),
        (["chat", "sfft"], "Did you mean 'sft'?"),
        (["chat", "sft"], "No finished 'sft' artifact"),
        (["new", "mine"], "required: --data, --model"),
        (["statsu"], "Did you mean the command 'status'?"),
    ],
)
def test_a_wrong_request_is_one_message_with_status_2(asked: Run, arguments: list[str], message: str) -> None:
    status, out, err = asked(*arguments)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())


@pytest.mark.parametrize("words", [["status"], ["artifacts"], ["artifacts", "prune"], ["chat"], ["new"]])
def test_help_is_the_commands_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert f"usage: python -m pipeline {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["sft.lerning_rate=1", "dpo.beta=-1"], 2),
        (["statsu"], 2),
        (["status"], 0),
        (["plan=true"], 0),
        (["artifacts", "ls"], 0),
        (["artifacts", "verify"], 0),
    ],
)
def test_no_library_for_training_or_analysis_is_imported(arguments: list[str], status: int, outputs: Path) -> None:
    """So the answer comes soon: each of them takes a fifth of a second to several seconds."""
    code = (
        "import sys, time\nfrom pipeline.__main__ import main\nstatus = main(sys.argv[1:])\n"
        f"imported = {SLOW_LIBRARIES} & set(sys.modules)\nassert not imported, imported\n"
        "print('CPU', time.process_time(), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, f"outputs={outputs}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert float(done.stderr.split()[-1]) < SECONDS


def test_exit_statuses_reach_the_shell(outputs: Path, store: Store, finished: dict[str, Step]) -> None:
    where = f"outputs={outputs}"
    assert process("artifacts", "lss").returncode == 2
    (store.directory("sft", finished["sft"].version) / "payload.txt").write_text("another")
    assert process("artifacts", "verify", where).returncode == 1


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 5_580_368, 2.5e12)] == ["0 B", "999 B", "1.0 kB", "5.6 MB", "2.5 TB"]


def test_ages() -> None:
    now = datetime(2026, 1, 10, 12, tzinfo=UTC)
    made = {"2026-01-10T11:59:30+00:00": "just now", "2026-01-10T11:58:30+00:00": "1 min ago",
            "2026-01-10T11:00:00+00:00": "60 min ago", "2026-01-10T07:00:00+00:00": "5 h ago",
            "2026-01-06T12:00:00+00:00": "4 days ago"}  # fmt: skip
    assert {text: age_text(text, now) for text in made} == made
    assert age_text(datetime.fromtimestamp(time.time(), UTC).isoformat()) == "just now"
