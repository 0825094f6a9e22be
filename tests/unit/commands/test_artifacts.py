"""Commands about artifacts: looking at them, naming, checking and clearing away."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine.planner import Step
from pipeline.store.artifacts import MANIFEST, Store
from tests.conftest import METRICS, commit, finish
from tests.unit.commands.conftest import Run
from tests.unit.commands.test_commands import process


def test_ls(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    commit(store, "sft", "zz99")
    store.point("sft", "friday", "zz99")
    with store.writing("dpo", "dd00"):
        pass
    status, out, _ = asked("artifacts", "ls")
    assert status == 0
    order = [line.strip().partition("@")[0] for line in out.splitlines()]
    aside = ("draft", "synthesize", "kto", "llm_judges", "blind", "abtest", "export")
    assert list(dict.fromkeys(order)) == [name for name in METRICS if name not in aside]
    assert "sft@zz99 friday, latest just now" in out
    assert "dpo@dd00 unfinished" in out
    assert {line.strip().partition("@")[0] for line in asked("artifacts", "ls", "sft")[1].splitlines()} == {"sft"}


def test_ls_of_nothing(asked: Run) -> None:
    status, out, _ = asked("artifacts", "ls")
    assert (status, "No artifacts in" in out) == (0, True)


def test_show(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    version, base = finished["sft"].version, finished["base"].version
    status, out, _ = asked("artifacts", "show", "sft")
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


def test_path_of_a_damaged_artifact_is_refused(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    (store.directory("sft", finished["sft"].version) / "payload.txt").write_text("another")
    status, out, err = asked("artifacts", "path", "sft")
    assert (status, out) == (1, "")
    assert "payload.txt has changed" in err


def test_lineage_draws_every_ancestor(asked: Run, finished: dict[str, Step]) -> None:
    status, out, _ = asked("artifacts", "lineage", "dpo")
    assert status == 0
    ancestors = ("base", "data", "sft", "sample", "publish", "collect", "preferences", "dpo")
    for name in ancestors:
        assert out.count(f"{name}@{finished[name].version}") == 1
    assert "policy: sft@" in out
    assert "(drawn above)" in out
    assert "evaluate@" not in out


def test_lineage_names_the_users_files_and_what_is_gone(asked: Run, store: Store) -> None:
    source = {"paths": ["/far/pairs.jsonl"]}
    commit(store, "preferences", "p1", inputs={"rankings": {"stage": "rankings", "version": "r1", "source": source}})
    gone = {"stage": "sft", "version": "s1"}
    commit(store, "dpo", "d1", inputs={"policy": gone, "preferences": {"stage": "preferences", "version": "p1"}})
    out = asked("artifacts", "lineage", "dpo")[1]
    assert "rankings r1 from /far/pairs.jsonl" in out
    assert "sft@s1 (gone)" in out


def test_a_versions_folder_is_a_reference_too(asked: Run, outputs: Path) -> None:
    elsewhere = commit(Store(outputs, "support"), "sft", "aa11")
    assert asked("artifacts", "path", str(elsewhere.path))[1].strip() == str(elsewhere.path)


def test_tag(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    version = finished["sft"].version
    assert asked("artifacts", "tag", "sft", "friday")[:2] == (0, f"sft@friday is {version}\n")
    assert store.resolve("sft@friday") == ("sft", version)
    commit(store, "sft", "aa11")
    assert f"sft@friday is aa11 (was {version})" in asked("artifacts", "tag", "sft@aa11", "friday")[1]
    assert store.pointers("sft") == {"friday": "aa11", "latest": "aa11"}


def test_verify_reads_everything(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    size = sum(len(f"{step.name} {step.version}") for step in finished.values())
    status, out, _ = asked("artifacts", "verify")
    assert status == 0
    assert f"{len(finished)} files, {size} B, of {len(finished)} artifacts were read: all as they were written" in out


@pytest.mark.parametrize("reference", [[], ["sft"]])
def test_verify_names_the_damaged_file(
    asked: Run, store: Store, finished: dict[str, Step], reference: list[str]
) -> None:
    file = store.directory("sft", finished["sft"].version) / "payload.txt"
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    status, out, _ = asked("artifacts", "verify", *reference)
    assert status == 1
    assert f"Damaged: {file} has changed" in out
    assert "1 damaged" in out
    assert asked("artifacts", "verify", "base")[0] == 0


def test_verify_finds_a_damaged_manifest(asked: Run, store: Store, finished: dict[str, Step]) -> None:
    file = store.directory("sft", finished["sft"].version) / MANIFEST
    file.write_text(file.read_text().replace('"eval_loss": 1.25', '"eval_loss": 0.25'))
    status, out, _ = asked("artifacts", "verify")
    assert (status, f"{file} is damaged" in out) == (1, True)


def versions(store: Store) -> set[str]:
    return {f"{stage}@{v}" for stage in store.stages() for v in (*store.versions(stage), *store.unfinished(stage))}


def test_prune_keeps_what_is_named_and_what_that_was_made_from(
    asked: Run, store: Store, finished: dict[str, Step], planned: Callable[..., dict[str, Step]]
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

    status, out, _ = asked("artifacts", "prune", "--dry-run")
    assert status == 0
    assert versions(store) == before
    assert {line.split()[2] for line in out.splitlines() if "would delete" in line} == before - kept

    status, out, _ = asked("artifacts", "prune")
    assert status == 0
    assert versions(store) == kept
    assert before - kept == {f"{name}@{nobody[name].version}" for name in ("sft", "sample", "preferences", "dpo")}
    assert re.search(r"4 versions, [\d.]+ kB freed", out)
    assert asked("artifacts", "verify")[0] == 0


def test_prune_leaves_alone_what_is_being_made_and_all_it_may_need(
    asked: Run, store: Store, finished: dict[str, Step]
) -> None:
    commit(store, "sft", "aa11")
    store.point("sft", "latest", finished["sft"].version)
    with store.writing("sft", "bb22" * 3), store.writing("dpo", "cc33" * 3):
        pass
    with store.writing("dpo", "dd44"):
        status, out, _ = asked("artifacts", "prune")
    assert status == 0
    assert {"sft@aa11", "dpo@dd44"} <= versions(store)
    assert not {"sft@bb22bb22bb22", "dpo@cc33cc33cc33"} & versions(store)
    assert f"kept dpo@dd44: being made by process {os.getpid()}" in out


def test_prune_does_not_touch_what_people_put_there(asked: Run, store: Store) -> None:
    for folder in ("notes/2026", "sft/my-backup", "collect/aa11aa11aa11"):
        (store.root / folder).mkdir(parents=True)
        (store.root / folder / "own.txt").write_text("mine")
    assert asked("artifacts", "prune")[1] == "0 versions, 0 B freed.\n"
    assert len(list(store.root.rglob("own.txt"))) == 3


def test_prune_removes_nothing_when_a_lineage_cannot_be_read(
    asked: Run, store: Store, finished: dict[str, Step]
) -> None:
    commit(store, "sft", "aa11")
    store.point("sft", "latest", finished["sft"].version)
    (store.directory("dpo", finished["dpo"].version) / MANIFEST).write_text("{")
    before = versions(store)
    status, _, err = asked("artifacts", "prune")
    assert (status, versions(store)) == (1, before)
    assert "Nothing was pruned" in err
