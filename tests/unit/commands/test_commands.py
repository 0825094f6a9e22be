"""The commands beside the chain, as they are typed: what they say, what they change, and their exit statuses."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
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
from tests.conftest import METRICS, commit, finish

Said = Callable[..., tuple[int, str, str]]
SECONDS = 3.0  # of CPU: another process on the same cores must not fail a test


@pytest.fixture
def said(outputs: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command line on the test's outputs: (status, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*arguments, f"outputs={outputs}"])
        captured = capsys.readouterr()
        return status, re.sub(r" +", " ", captured.out), captured.err

    return run


def process(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], input=given, capture_output=True, text=True, check=False
    )


# -- status


def test_status_of_an_empty_folder_says_how_to_begin(said: Said, outputs: Path) -> None:
    status, out, _ = said("status")
    assert status == 0
    assert "Nothing has been made in this project yet." in out
    assert f"Next python -m pipeline outputs={outputs} (makes " in out
    assert not outputs.exists()  # looking leaves nothing behind


def test_status_of_a_finished_project(said: Said, finished: dict[str, Step], outputs: Path) -> None:
    status, out, _ = said("status")
    assert status == 0
    for name, step in finished.items():
        assert f"{name} {step.version[:4]} done just now" in out
    assert "eval loss 1.25, 9 rows" in out
    assert "export " in out
    assert f"Report {outputs}/playground/compare/{finished['compare'].version}/report.html" in out
    assert "Next python -m pipeline chat sft dpo" in out


def test_status_says_what_this_request_would_make(said: Said, finished: dict[str, Step], store: Store) -> None:
    status, out, _ = said("status", "dpo.beta=0.37")
    assert status == 0
    assert re.search(r"sft \w{4} done", out)
    before = finished["dpo"]
    why = f"differs from {before.version[:4]}: beta {before.config.beta} -> 0.37"
    assert re.search(rf"dpo \w{{4}} missing {why}", out)
    assert re.search(r"Next python -m pipeline dpo.beta=0.37 outputs=\S+ \(makes dpo, evaluate, compare\)", out)


def test_status_tells_unfinished_from_being_made(said: Said, store: Store, finished: dict[str, Step]) -> None:
    version = finished["sft"].version
    (store.directory("sft", version) / MANIFEST).unlink()
    assert f"sft {version[:4]} unfinished" in said("status")[1]
    with store.writing("sft", version):
        assert f"sft {version[:4]} being made by process {os.getpid()}" in said("status")[1]


def test_status_shows_a_damaged_manifest_and_goes_on(said: Said, store: Store, finished: dict[str, Step]) -> None:
    (store.directory("sft", finished["sft"].version) / MANIFEST).write_text("{")
    status, out, _ = said("status")
    assert status == 0
    assert f"sft {finished['sft'].version[:4]} damaged" in out
    assert f"dpo {finished['dpo'].version[:4]} done" in out


def test_status_of_a_request_that_is_possible_in_part(said: Said, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "greet", "output": "hello"}\n')
    status, out, _ = said("status", "data=files", f"data.path={file}")
    assert status == 0
    assert "Not possible: Who is to rank? Simulated annotators know good answers in the playground only" in out


def test_status_names_the_other_projects(said: Said, outputs: Path, finished: dict[str, Step]) -> None:
    commit(Store(outputs, "support"), "sft", "aa11")
    (outputs / "notes").mkdir()
    assert "Others support (" in said("status")[1]
    assert "Others playground (" in said("status", "project=support")[1]


# -- artifacts: looking


def test_ls(said: Said, store: Store, finished: dict[str, Step]) -> None:
    commit(store, "sft", "zz99")
    store.point("sft", "friday", "zz99")
    with store.writing("dpo", "dd00"):
        pass
    status, out, _ = said("artifacts", "ls")
    assert status == 0
    order = [line.strip().partition("@")[0] for line in out.splitlines()]
    aside = ("draft", "synthesize", "kto", "llm_judges", "blind", "abtest", "export")
    assert list(dict.fromkeys(order)) == [name for name in METRICS if name not in aside]
    assert "sft@zz99 friday, latest just now" in out
    assert "dpo@dd00 unfinished" in out
    assert {line.strip().partition("@")[0] for line in said("artifacts", "ls", "sft")[1].splitlines()} == {"sft"}


def test_ls_of_nothing(said: Said) -> None:
    status, out, _ = said("artifacts", "ls")
    assert (status, "No artifacts in" in out) == (0, True)


def test_show(said: Said, store: Store, finished: dict[str, Step]) -> None:
    version, base = finished["sft"].version, finished["base"].version
    status, out, _ = said("artifacts", "show", "sft")
    assert status == 0
    for expected in (
        f"sft@{version} · just now · eval loss 1.25, 9 rows",
        f"base base@{base}",
        "eval_loss 1.25",
        "peft.method full",
        f"payload.txt {len('sft ' + version)} B",
    ):
        assert expected in out


def test_path_prints_the_directory_and_nothing_else(store: Store, finished: dict[str, Step]) -> None:
    done = process("artifacts", "path", f"sft@{finished['sft'].version[:5]}", f"outputs={store.root.parent}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{store.directory('sft', finished['sft'].version)}\n"


def test_path_of_a_damaged_artifact_is_refused(said: Said, store: Store, finished: dict[str, Step]) -> None:
    (store.directory("sft", finished["sft"].version) / "payload.txt").write_text("another")
    status, out, err = said("artifacts", "path", "sft")
    assert (status, out) == (1, "")
    assert "payload.txt has changed" in err


def test_lineage_draws_every_ancestor(said: Said, finished: dict[str, Step]) -> None:
    status, out, _ = said("artifacts", "lineage", "dpo")
    assert status == 0
    ancestors = ("base", "data", "sft", "sample", "publish", "collect", "preferences", "dpo")
    for name in ancestors:
        assert out.count(f"{name}@{finished[name].version}") == 1
    assert "policy: sft@" in out
    assert "(drawn above)" in out
    assert "evaluate@" not in out


def test_lineage_names_the_users_files_and_what_is_gone(said: Said, store: Store) -> None:
    source = {"paths": ["/far/pairs.jsonl"]}
    commit(store, "preferences", "p1", inputs={"rankings": {"stage": "rankings", "version": "r1", "source": source}})
    gone = {"stage": "sft", "version": "s1"}
    commit(store, "dpo", "d1", inputs={"policy": gone, "preferences": {"stage": "preferences", "version": "p1"}})
    out = said("artifacts", "lineage", "dpo")[1]
    assert "rankings r1 from /far/pairs.jsonl" in out
    assert "sft@s1 (gone)" in out


def test_a_versions_folder_is_a_reference_too(said: Said, outputs: Path) -> None:
    elsewhere = commit(Store(outputs, "support"), "sft", "aa11")
    assert said("artifacts", "path", str(elsewhere.path))[1].strip() == str(elsewhere.path)


# -- artifacts: naming, checking, clearing away


def test_tag(said: Said, store: Store, finished: dict[str, Step]) -> None:
    version = finished["sft"].version
    assert said("artifacts", "tag", "sft", "friday")[:2] == (0, f"sft@friday is {version}\n")
    assert store.resolve("sft@friday") == ("sft", version)
    commit(store, "sft", "aa11")
    assert f"sft@friday is aa11 (was {version})" in said("artifacts", "tag", "sft@aa11", "friday")[1]
    assert store.pointers("sft") == {"friday": "aa11", "latest": "aa11"}


def test_verify_reads_everything(said: Said, store: Store, finished: dict[str, Step]) -> None:
    size = sum(len(f"{step.name} {step.version}") for step in finished.values())
    status, out, _ = said("artifacts", "verify")
    assert status == 0
    assert f"{len(finished)} files, {size} B, of {len(finished)} artifacts were read: all as they were written" in out


@pytest.mark.parametrize("reference", [[], ["sft"]])
def test_verify_names_the_damaged_file(
    said: Said, store: Store, finished: dict[str, Step], reference: list[str]
) -> None:
    file = store.directory("sft", finished["sft"].version) / "payload.txt"
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    status, out, _ = said("artifacts", "verify", *reference)
    assert status == 1
    assert f"Damaged: {file} has changed" in out
    assert "1 damaged" in out
    assert said("artifacts", "verify", "base")[0] == 0


def test_verify_finds_a_damaged_manifest(said: Said, store: Store, finished: dict[str, Step]) -> None:
    file = store.directory("sft", finished["sft"].version) / MANIFEST
    file.write_text(file.read_text().replace('"eval_loss": 1.25', '"eval_loss": 0.25'))
    status, out, _ = said("artifacts", "verify")
    assert (status, f"{file} is damaged" in out) == (1, True)


def versions(store: Store) -> set[str]:
    return {f"{stage}@{v}" for stage in store.stages() for v in (*store.versions(stage), *store.unfinished(stage))}


def test_prune_keeps_what_is_named_and_what_that_was_made_from(
    said: Said, store: Store, finished: dict[str, Step], planned: Callable[..., dict[str, Step]]
) -> None:
    kept = versions(store)
    tagged = planned("stage=dpo", "sft.seed=1")
    for name in ("sft", "sample", "publish", "collect", "preferences", "dpo"):
        finish(store, tagged[name])
    store.point("dpo", "friday", tagged["dpo"].version)
    nobody = planned("sft.seed=2")
    for name in ("sft", "sample", "publish", "collect", "preferences"):
        finish(store, nobody[name])
    with store.writing("dpo", nobody["dpo"].version) as directory:
        (directory / "half.txt").write_text("half")
    with store.writing("collect", "cc00"):
        pass
    for name, step in finished.items():
        store.point(name, "latest", step.version)
    kept |= {f"{name}@{tagged[name].version}" for name in ("sft", "sample", "preferences", "dpo", "publish", "collect")}
    kept |= {f"{name}@{nobody[name].version}" for name in ("publish", "collect")} | {"collect@cc00"}
    before = versions(store)

    status, out, _ = said("artifacts", "prune", "--dry-run")
    assert status == 0
    assert versions(store) == before
    assert {line.split()[2] for line in out.splitlines() if "would delete" in line} == before - kept

    status, out, _ = said("artifacts", "prune")
    assert status == 0
    assert versions(store) == kept
    assert before - kept == {f"{name}@{nobody[name].version}" for name in ("sft", "sample", "preferences", "dpo")}
    assert re.search(r"4 versions, [\d.]+ kB freed", out)
    assert said("artifacts", "verify")[0] == 0


def test_prune_leaves_alone_what_is_being_made_and_all_it_may_need(
    said: Said, store: Store, finished: dict[str, Step]
) -> None:
    commit(store, "sft", "aa11")
    store.point("sft", "latest", finished["sft"].version)
    with store.writing("sft", "bb22" * 3), store.writing("dpo", "cc33" * 3):
        pass
    with store.writing("dpo", "dd44"):
        status, out, _ = said("artifacts", "prune")
    assert status == 0
    assert {"sft@aa11", "dpo@dd44"} <= versions(store)
    assert not {"sft@bb22bb22bb22", "dpo@cc33cc33cc33"} & versions(store)
    assert f"kept dpo@dd44: being made by process {os.getpid()}" in out


def test_prune_does_not_touch_what_people_put_there(said: Said, store: Store) -> None:
    for folder in ("notes/2026", "sft/my-backup", "collect/aa11aa11aa11"):
        (store.root / folder).mkdir(parents=True)
        (store.root / folder / "own.txt").write_text("mine")
    assert said("artifacts", "prune")[1] == "0 versions, 0 B freed.\n"
    assert len(list(store.root.rglob("own.txt"))) == 3


def test_prune_removes_nothing_when_a_lineage_cannot_be_read(
    said: Said, store: Store, finished: dict[str, Step]
) -> None:
    commit(store, "sft", "aa11")
    store.point("sft", "latest", finished["sft"].version)
    (store.directory("dpo", finished["dpo"].version) / MANIFEST).write_text("{")
    before = versions(store)
    status, _, err = said("artifacts", "prune")
    assert (status, versions(store)) == (1, before)
    assert "Nothing was pruned" in err


# -- chat


class Echo:
    """In the place of a policy: says how long the conversation is that it sees, and the last words of it."""

    def __init__(self, artifact: Artifact, context: StageContext, seed: int) -> None:
        self.name, self.seed = artifact.reference, seed

    def draw(self, prompts: list[list[dict[str, str]]], decoding: DecodingConfig, what: str) -> list[SimpleNamespace]:
        [messages] = prompts
        if messages[-1]["content"] == "long":
            raise RequestError("A prompt of 300 tokens fills the whole context.")
        text = f"{self.name} {len(messages)} {messages[-1]['content']} {self.seed} {decoding.max_new_tokens}"
        return [SimpleNamespace(text=text, ids=[1], stopped=messages[-1]["content"] != "cut")]


@pytest.fixture
def talk(said: Said, store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What two policies answer to lines from a pipe."""
    monkeypatch.setitem(sys.modules, "pipeline.modeling.answering", SimpleNamespace(Answerer=Echo))
    commit(store, "sft", "aa11")
    commit(store, "dpo", "bb22")

    def run(lines: str, *arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        status, out, err = said("chat", *arguments)
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


# -- wrong requests


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
def test_a_wrong_request_is_one_message_with_status_2(said: Said, arguments: list[str], message: str) -> None:
    status, out, err = said(*arguments)
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
def test_no_torch_and_soon_done(arguments: list[str], status: int, outputs: Path) -> None:
    code = (
        "import sys, time\nfrom pipeline.__main__ import main\nstatus = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'trl' not in sys.modules and 'transformers' not in sys.modules\n"
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


# -- words


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 5_580_368, 2.5e12)] == ["0 B", "999 B", "1.0 kB", "5.6 MB", "2.5 TB"]


def test_ages() -> None:
    now = datetime(2026, 1, 10, 12, tzinfo=UTC)
    made = {"2026-01-10T11:59:30+00:00": "just now", "2026-01-10T11:58:30+00:00": "1 min ago",
            "2026-01-10T11:00:00+00:00": "60 min ago", "2026-01-10T07:00:00+00:00": "5 h ago",
            "2026-01-06T12:00:00+00:00": "4 days ago"}  # fmt: skip
    assert {text: age_text(text, now) for text in made} == made
    assert age_text(datetime.fromtimestamp(time.time(), UTC).isoformat()) == "just now"
