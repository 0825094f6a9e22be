"""W&B offline: what a run holds, read back from its file, and that an absent service costs nothing."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from pipeline.artifacts import Artifact
from tests.stages.conftest import Chain

BLOCK, FILE_HEADER, RECORD_HEADER = 32768, 7, 7  # the LevelDB log format, behind a header of wandb's


def records(outputs: Path, artifact: Artifact) -> list[wandb_internal_pb2.Record]:
    """Every record of the offline run of one version. (wandb 0.31 has no reader in Python any more.)"""
    (file,) = outputs.glob(f".tracking/wandb/offline-run-*-{artifact.stage}-{artifact.version}/*.wandb")
    data, position, pending, found = file.read_bytes(), FILE_HEADER, b"", []
    assert data.startswith(b":W&B")
    while position + RECORD_HEADER <= len(data):
        if BLOCK - position % BLOCK < RECORD_HEADER:
            position += BLOCK - position % BLOCK
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += RECORD_HEADER
        pending += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(pending))
            pending = b""
    return found


def test_an_offline_run_mirrors_the_manifest(
    new_chain: Callable[[], Chain], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Group, job type, configuration with lineage, the training history, the manifest's metrics, the artifact."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    chain = new_chain()
    made = chain.make("sft", "tracking=auto")
    found = records(chain.outputs, made)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.run_group, run.job_type) == ("playground", "sft")
    assert config["inputs"] == {role: given.reference for role, given in made.inputs.items()}
    assert config["learning_rate"] == made.manifest["config"]["learning_rate"]
    history = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    assert sum("eval_loss" in row for row in history) == 4
    summary = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    for name, value in made.metrics.items():
        assert summary[name] == pytest.approx(value)
    (logged,) = [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"] or [None]
    assert logged is not None
    assert logged.type == "sft"
    assert json.loads(logged.metadata)["inputs"] == config["inputs"]
    assert {content.ref for content in logged.manifest.contents} >= {
        (made.path.absolute() / name).as_uri() for name in made.manifest["files"]
    }


def test_a_tracking_service_out_of_reach_does_not_end_the_work(
    new_chain: Callable[[], Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online with a key that no server takes: the stage is made all the same, and the log says so."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    made = new_chain().make("data", "tracking=online")
    assert made.metrics["read"] > 0
