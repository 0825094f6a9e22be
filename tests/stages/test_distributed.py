"""A stage in two processes gives the results of one: the same version, losses and answers, and one writer."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest

from pipeline.config.schema import stage_names
from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.completions import running
from tests.lazily import lazily
from tests.policy_server import PolicyServer
from tests.stages import tiny
from tests.stages.conftest import Chain
from tests.stages.processes import FORKING
from tests.stages.test_kto import from_thumbs, thumbs

with lazily():
    from safetensors.torch import load_file

    from pipeline.modeling.answering import Answerer

TOLERANCE = 1e-5
MEASURED = ("seconds", "memory", "runtime", "per_second")  # parts of the names of figures about the machine
ARMS = ("evaluate.policies=[sft,dpo,ppo]", "evaluate.judge=false", "gates=off", "labeling=simulated")
REQUESTS = {  # every stage that several processes run together: how one process made it
    "base": (),
    "sft": (),
    "sample": (),
    "dpo": (),
    "kto": ("kto.epochs=2",),
    "reward": (),
    "judge": (),
    "ppo": (*ARMS, "ppo.kl.target=2"),
    "evaluate": ARMS,
}


QUICK = ("sft", "sample")  # one that trains and one that writes answers; the others are slow tests
CASES = [pytest.param(stage, "", marks=() if stage in QUICK else pytest.mark.slow) for stage in REQUESTS]
SHARED = ("sft", "dpo", "kto", "reward", "judge")  # with `launch.shard=true`, two processes share their model
CASES += [pytest.param(stage, "launch.shard=true", marks=pytest.mark.slow) for stage in SHARED]


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def launched(folder: Path, arguments: list[str], count: int = 2) -> list[int]:
    """Run a command in `count` processes, as torchrun does. Returns their statuses; `written-RANK` is in the folder."""
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(free_port())
    processes = [
        FORKING.Process(target=_main, args=(arguments, {**shared, "RANK": str(r), "LOCAL_RANK": str(r)}, folder))
        for r in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    for process in processes:
        process.kill()
    return [process.exitcode or 0 for process in processes]


def _main(arguments: list[str], variables: Mapping[str, str], folder: Path) -> None:
    from pipeline.__main__ import main
    from pipeline.modeling import fsdp

    os.environ.update(variables)
    rank = variables["RANK"]
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT), descriptor)
    written: list[str] = []
    watched = True

    def watch(event: str, given: tuple[Any, ...]) -> None:
        """Record the files that are opened to be written."""
        opened = watched and event == "open" and isinstance(given[0], str | os.PathLike)
        if opened and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(os.fspath(given[0]))

    sys.addaudithook(watch)
    shards = Mock(wraps=fsdp.shard)
    with patch.object(fsdp, "shard", shards):
        status = main(arguments)
    watched = False
    (folder / f"written-{rank}").write_text(json.dumps(written))
    (folder / f"sharded-{rank}").write_text(str(shards.call_count))
    sys.exit(status)


def copy_of(chain: Chain, folder: Path, but: str) -> Chain:
    """Return a copy of a project without the versions of one stage."""
    shutil.copytree(chain.store.root, folder / "outputs" / "playground", ignore=shutil.ignore_patterns(but, ".*.lock"))
    return Chain(folder / "outputs")


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the figures of one that differ from those of the other, without those about the machine and the epoch.

    Where policy and reference are equal, rounding decides which of two answers has gained: that accuracy is none.
    """
    gained = one.get("margin", one.get("rewards/good", 1))
    left_out = {"epoch", *(["accuracy"] if abs(gained) < 1e-3 else [])}
    named = [name for name in {*one, *other} - left_out if not any(part in name for part in MEASURED)]
    pairs = [(name, one.get(name), other.get(name)) for name in sorted(named)]
    return [(name, a, b) for name, a, b in pairs if a is None or b is None or abs(a - b) > TOLERANCE * max(1, abs(a))]


def assert_equal_results(one: Artifact, two: Artifact) -> None:
    assert two.version == one.version
    assert sorted(two.manifest["files"]) == sorted(one.manifest["files"])
    assert differing(one.metrics, two.metrics) == []
    if (one.path / "history.jsonl").is_file():
        rows = [read_jsonl(artifact.file("history.jsonl")) for artifact in (one, two)]
        assert len(rows[0]) == len(rows[1])
        assert [difference for a, b in zip(*rows, strict=True) for difference in differing(a, b)] == []


def assert_equal_weights(one: Artifact, two: Artifact) -> None:
    """All that was saved as safetensors; a step moves a weight much farther."""
    for file in one.path.rglob("*.safetensors"):
        these, those = load_file(file), load_file(two.path / file.relative_to(one.path))
        assert these.keys() == those.keys()
        assert max(float((these[name] - those[name]).abs().max()) for name in these) < 5 * TOLERANCE


def test_every_stage_that_runs_in_several_processes_is_compared_here() -> None:
    from pipeline.stages import STAGES

    assert {name for name, stage in STAGES.items() if stage.is_distributed} == set(REQUESTS)
    assert set(REQUESTS) <= set(stage_names())


@pytest.mark.parametrize(("stage", "shard"), CASES)
def test_two_processes_give_the_results_of_one(chain: Chain, tmp_path: Path, stage: str, shard: str) -> None:
    """Same version, figures, history and weights, from the same inputs; two rows at a time, so some steps have fillers.

    The second process opens no file to write, but for its random state in a checkpoint.
    """
    marks = from_thumbs(thumbs(tmp_path / "thumbs.jsonl")) if stage == "kto" else ()
    request = (*marks, *REQUESTS[stage], f"stage={stage}")
    one = chain.make(stage, *request)
    other = copy_of(chain, tmp_path, stage)
    small = ["launch.micro_batch_size=2", "launch.batch_tokens=150"]  # several batches in each process
    small += [shard] if shard else []
    assert launched(tmp_path, other.arguments(*request, *small)) == [0, 0], (tmp_path / "err-0").read_text()
    two = other.store.open(*other.store.resolve(stage))
    assert_equal_results(one, two)
    assert_equal_weights(one, two)
    assert two.manifest["runtime"]["processes"] == 2
    assert [(tmp_path / f"sharded-{rank}").read_text() for rank in (0, 1)] == [str(int(bool(shard)))] * 2
    assert (tmp_path / "out-1").read_text() == ""
    written = json.loads((tmp_path / "written-1").read_text())
    assert [name for name in written if str(two.path) in name and "rng_state_1" not in name] == []
    if stage == "sample":
        assert two.file("answers.jsonl").read_bytes() == one.file("answers.jsonl").read_bytes()
    if stage == "evaluate":
        texts = [
            [[a["text"] for a in row["answers"].values()] for row in read_jsonl(m.file("answers.jsonl"))]
            for m in (one, two)
        ]
        assert texts[0] == texts[1]


@pytest.mark.slow
def test_two_processes_have_a_server_draw_once(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them asks it, and both compare it with their weights."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    sft = chain.make("sft")
    (tmp_path / "server").mkdir()
    with running(PolicyServer(Answerer(sft, tiny.context(tmp_path / "server"), 0))) as server:
        servers = f"generation.servers=[{{policy: sft, url: '{server.url}'}}]"
        request = ("stage=sample", "sample.prompts=6", "sample.answers=2", "generation=vllm", servers)
        one = chain.make("sample", *request)
        asked = len(server.seen)
        other = copy_of(chain, tmp_path, "sample")
        assert launched(tmp_path, other.arguments(*request)) == [0, 0], (tmp_path / "err-0").read_text()
        assert len(server.seen) == 2 * asked
    two = other.store.open(*other.store.resolve("sample"))
    assert_equal_results(one, two)
    for file in ("answers.jsonl", "generation.json"):
        assert two.file(file).read_bytes() == one.file(file).read_bytes()
