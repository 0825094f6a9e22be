"""The store: complete or unfinished and nothing between, never written twice, never trusted blindly."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline.errors import PipelineError, RequestError
from pipeline.files import file_hash
from pipeline.store.artifact import external
from pipeline.store.artifacts import CHECKPOINTS, MANIFEST, Store, artifact_at
from tests.conftest import commit
from tests.examples import at_most

FILES = {"model/weights.bin": "0123456789" * 50, "log.txt": "began\n", "empty": ""}


def python(code: str, outputs: Path) -> list[str]:
    head = (
        "import os, signal, sys, pipeline.files\nfrom pathlib import Path\nfrom pipeline.store.artifacts import Store\n"
    )
    head += f"store = Store(Path({str(outputs)!r}), 'playground')\n"
    return [sys.executable, "-c", head + code]


def again(store: Store) -> Store:
    """The same store as another process sees it: nothing is remembered as opened."""
    return Store(store.root.parent, store.project)


# -- commit and open


def test_a_commit_records_every_file_with_its_bytes_and_hash(store: Store) -> None:
    artifact = commit(store, "sft", "aa11", files=FILES, inputs={})
    assert set(artifact.manifest["files"]) == set(FILES)
    for name, recorded in artifact.manifest["files"].items():
        assert recorded == {"bytes": len(FILES[name]), "sha256": file_hash(artifact.path / name)}
    assert json.loads((artifact.path / MANIFEST).read_text()) == artifact.manifest
    assert (artifact.manifest["stage"], artifact.manifest["version"]) == ("sft", "aa11")


def test_checkpoints_and_leftovers_of_killed_writes_are_not_part_of_an_artifact(store: Store) -> None:
    with store.writing("sft", "aa11") as directory:
        (directory / CHECKPOINTS / "5").mkdir(parents=True)
        (directory / CHECKPOINTS / "5" / "state.pt").write_text("torch")
        (directory / f".{MANIFEST}.77.tmp").write_text("half a mani")
        (directory / "kept.txt").write_text("kept")
        artifact = store.commit("sft", "aa11", {"inputs": {}, "metrics": {}})
    assert sorted(p.name for p in artifact.path.iterdir()) == ["kept.txt", MANIFEST]


def test_an_unfinished_version_is_never_an_input(store: Store) -> None:
    with store.writing("sft", "aa11") as directory:
        (directory / "weights.bin").write_text("half")
    assert store.unfinished("sft") == ["aa11"]
    assert store.versions("sft") == []
    with pytest.raises(RequestError, match="No finished artifact sft@aa11"):
        store.open("sft", "aa11")
    with pytest.raises(RequestError, match=r"No finished 'sft' artifact .* Run `python -m pipeline stage=sft` first"):
        store.resolve("sft")


def test_the_message_on_a_missing_stage_names_the_project(outputs: Path) -> None:
    with pytest.raises(RequestError, match=r"in project support .* stage=sft project=support"):
        Store(outputs, "support").resolve("sft@latest")


@pytest.mark.parametrize("project", ["../other", "", ".hidden", "a/b", "a b"])
def test_a_project_cannot_lie_elsewhere(outputs: Path, project: str) -> None:
    with pytest.raises(RequestError, match="a project's name has"):
        Store(outputs, project)


def test_inputs_are_opened_with_their_own_inputs(store: Store) -> None:
    commit(store, "base", "b1")
    commit(store, "sft", "s1", inputs={"base": {"stage": "base", "version": "b1"}})
    commit(store, "dpo", "d1", inputs={"policy": {"stage": "sft", "version": "s1"}})
    assert again(store).open("dpo", "d1").inputs["policy"].inputs["base"].reference == "base@b1"


def test_inputs_of_the_users_own_keep_their_source(store: Store, tmp_path: Path) -> None:
    source = {"paths": [str(tmp_path / "a.jsonl")]}
    commit(store, "data", "d1", inputs={"files": {"stage": "files", "version": "f1", "source": source}})
    given = again(store).open("data", "d1").inputs["files"]
    assert (given.path, given.manifest) == (tmp_path / "a.jsonl", {"source": source})


def test_an_input_in_another_project_is_found_by_its_path(store: Store, outputs: Path) -> None:
    elsewhere = commit(Store(outputs, "other"), "sft", "s1")
    recorded = {"stage": "sft", "version": "s1", "path": str(elsewhere.path)}
    commit(store, "dpo", "d1", inputs={"policy": recorded})
    assert again(store).open("dpo", "d1").inputs["policy"].path == elsewhere.path
    assert artifact_at(elsewhere.path).reference == "sft@s1"


# -- references


def test_references(store: Store) -> None:
    for version in ("aa11", "aa22", "bb33"):
        commit(store, "sft", version)
    store.point("sft", "friday", "aa11")
    found = {text: store.resolve(text)[1] for text in ("sft", "sft@", "sft@latest", "sft@friday", "sft@aa2", "sft@b")}
    assert found == {
        "sft": "bb33", "sft@": "bb33", "sft@latest": "bb33", "sft@friday": "aa11", "sft@aa2": "aa22", "sft@b": "bb33"
    }  # fmt: skip
    with pytest.raises(RequestError, match="2 versions begin like this: aa11, aa22"):
        store.resolve("sft@aa")
    with pytest.raises(RequestError, match=r"no such version or tag .* friday, latest, aa11, aa22, bb33"):
        store.resolve("sft@monday")


def test_a_pointer_to_a_version_that_was_deleted_by_hand_says_so(store: Store) -> None:
    commit(store, "sft", "aa11")
    commit(store, "sft", "bb22")
    store.remove("sft", "bb22")
    with pytest.raises(RequestError, match=r"sft@latest names version bb22, which is gone .* There are: aa11"):
        store.resolve("sft")


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a b", "a/b"])
def test_a_tag_is_a_plain_name(store: Store, name: str) -> None:
    commit(store, "sft", "aa11")
    with pytest.raises(RequestError, match="a tag has"):
        store.point("sft", name, "aa11")


def test_a_tag_cannot_hide_a_version(store: Store) -> None:
    commit(store, "sft", "aa11")
    commit(store, "sft", "bb22")
    with pytest.raises(RequestError, match="the name of a version already"):
        store.point("sft", "aa11", "bb22")


def test_versions_are_listed_oldest_first_by_their_manifests_and_not_by_their_files(store: Store) -> None:
    for age, version in ((1, "oldest"), (3, "middle"), (2, "newest")):
        artifact = commit(store, "sft", version)
        os.utime(artifact.path / MANIFEST, (age, age))
    assert store.versions("sft") == ["oldest", "middle", "newest"]


# -- integrity


@at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 499), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_and_its_file_named(store: Store, place: int, bit: int) -> None:
    if not store.is_complete("sft", "aa11"):
        commit(store, "sft", "aa11", files=FILES)
    file = store.directory("sft", "aa11") / "model" / "weights.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    read: list[int] = []
    problems = store.verify("sft", "aa11", read.append)
    file.write_bytes(whole)
    assert problems == [f"{file} has changed (its sha256 is not the one in the manifest)"]
    assert sorted(read) == sorted(len(text) for text in FILES.values())
    assert store.verify("sft", "aa11") == []


@at_most(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_manifest_itself_is_found(store: Store, place: float, bit: int) -> None:
    if not store.is_complete("sft", "aa11"):
        commit(store, "sft", "aa11", files=FILES, config={"seed": 0})
    file = store.directory("sft", "aa11") / MANIFEST
    whole = file.read_bytes()
    at = int(place * len(whole))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    try:
        with pytest.raises(PipelineError, match=r"manifest\.json is damaged"):
            store.read_manifest("sft", "aa11")
    finally:
        file.write_bytes(whole)


def test_a_changed_file_is_not_used(store: Store) -> None:
    file = commit(store, "sft", "aa11", files=FILES).path / "log.txt"
    file.write_text("edited\n")
    with pytest.raises(PipelineError, match=r"sft@aa11 is damaged and is not used: .*log\.txt has changed") as raised:
        again(store).open("sft", "aa11")
    assert raised.value.status == 1


def test_a_missing_file_is_not_used(store: Store) -> None:
    (commit(store, "sft", "aa11", files=FILES).path / "log.txt").unlink()
    with pytest.raises(PipelineError, match=r"log\.txt is missing"):
        again(store).open("sft", "aa11")


def test_an_artifact_made_from_a_damaged_one_is_not_used(store: Store) -> None:
    base = commit(store, "base", "b1", files=FILES)
    commit(store, "sft", "s1", inputs={"base": {"stage": "base", "version": "b1"}})
    (base.path / "log.txt").write_text("edited\n")
    with pytest.raises(PipelineError, match="base@b1 is damaged"):
        again(store).open("sft", "s1")


def test_another_time_with_the_same_content_is_accepted_and_hashed_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = commit(store, "sft", "aa11", files=FILES)
    hashed: list[Path] = []
    monkeypatch.setattr("pipeline.store.artifacts.file_hash", lambda path: hashed.append(path) or file_hash(path))
    again(store).open("sft", "aa11")
    assert hashed == []  # size and time are as they were
    os.utime(artifact.path / "log.txt", (1, 1))
    again(store).open("sft", "aa11")
    assert len(hashed) == len(FILES)
    again(store).open("sft", "aa11")
    assert len(hashed) == len(FILES)


def test_a_change_that_keeps_size_and_time_is_left_to_verify(store: Store) -> None:
    file = commit(store, "sft", "aa11", files=FILES).path / "log.txt"
    before = file.stat()
    file.write_text("BEGAN\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert again(store).open("sft", "aa11").reference == "sft@aa11"
    assert store.verify("sft", "aa11") == [f"{file} has changed (its sha256 is not the one in the manifest)"]


# -- several processes


def test_a_second_process_is_refused_while_one_writes(store: Store, outputs: Path) -> None:
    hold = "with store.writing('sft', 'aa11'):\n    print('writing', flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen(python(hold, outputs), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        with (
            pytest.raises(PipelineError, match=f"sft@aa11 is being made by process {other.pid} on "),
            store.writing("sft", "aa11"),
        ):
            pass
        assert str(other.pid) in str(store.writer("sft", "aa11"))
        with pytest.raises(PipelineError, match="is being made by"):
            store.remove("sft", "aa11")
        with store.writing("sft", "bb22"):  # another version is free
            other.kill()
        other.wait()
    assert store.writer("sft", "aa11") is None
    with store.writing("sft", "aa11") as directory:  # the lock of a killed process is gone with it
        assert directory.is_dir()


@pytest.mark.parametrize("killed_in", ["sync", "replace"])
def test_a_kill_between_payload_and_manifest_leaves_it_unfinished(store: Store, outputs: Path, killed_in: str) -> None:
    die = "lambda *a: os.kill(os.getpid(), signal.SIGKILL)"
    place = {"sync": "pipeline.store.artifacts.sync", "replace": "pipeline.files.os.replace"}[killed_in]
    code = (
        f"import pipeline.store.artifacts\nwith store.writing('sft', 'aa11') as d:\n    (d / 'a.txt').write_text('a')\n"
        f"    {place} = {die}\n    store.commit('sft', 'aa11', {{'inputs': {{}}, 'metrics': {{}}}})\n"
    )
    assert subprocess.run(python(code, outputs), check=False).returncode == -signal.SIGKILL
    assert store.unfinished("sft") == ["aa11"]
    assert store.pointers("sft") == {}
    with pytest.raises(RequestError):
        store.open("sft", "aa11")
    with store.writing("sft", "aa11"):
        resumed = store.commit("sft", "aa11", {"inputs": {}, "metrics": {}})
    assert set(resumed.manifest["files"]) == {"a.txt"}
    assert store.verify("sft", "aa11") == []


# -- disks


def test_a_root_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    store = Store(tmp_path / "outputs", "p")
    with pytest.raises(PipelineError, match="outputs=DIR") as raised, store.writing("sft", "aa11"):
        pass
    assert raised.value.status == 1


def test_a_full_disk_is_one_message(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(store, "sft", "aa11")

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.store.artifacts.write_atomically", full)
    with pytest.raises(PipelineError, match=r"sft/friday: No space left on device.* outputs=DIR"):
        store.point("sft", "friday", "aa11")


def test_remove_frees_the_bytes_of_the_last_name_of_a_file_only(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, "sft", "aa11", files={"own.txt": "1234", "shared.txt": "1234567"})
    os.link(artifact.path / "shared.txt", tmp_path / "elsewhere.txt")
    manifest = (artifact.path / MANIFEST).stat().st_size
    assert store.remove("sft", "aa11") == 4 + manifest
    assert not artifact.path.exists()
    assert (tmp_path / "elsewhere.txt").read_text() == "1234567"
    with pytest.raises(RequestError):
        store.open("sft", "aa11")


def test_a_manifest_without_its_checksum_is_damaged(store: Store) -> None:
    path = commit(store, "sft", "a1").path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(PipelineError, match=r"is damaged: the manifest differs from the one that was written"):
        store.read_manifest("sft", "a1")


def test_an_external_artifact_says_what_it_stands_for(store: Store, tmp_path: Path) -> None:
    files = external("gold", "v1", {"paths": ["a.jsonl", "b.jsonl"]})
    folder = external("model", "v2", {"path": str(tmp_path), "revision": "abc"})
    assert (files.is_external, files.path, files.name) == (True, Path("a.jsonl"), "gold@v1")
    assert files.external_files == [Path("a.jsonl"), Path("b.jsonl")]
    assert (folder.name, folder.external_files, folder.source["revision"]) == (str(tmp_path), [tmp_path], "abc")
    made = commit(store, "sft", "a1")
    assert (made.is_external, made.source, made.external_files) == (False, {}, [])
