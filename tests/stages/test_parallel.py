"""Parallel stages: the same results in any order, and a process that ends does not damage the work of others."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.files import file_hash
from tests.conftest import until
from tests.stages.conftest import Chain
from tests.stages.processes import FORKING, start_with_forked_workers

pytestmark = pytest.mark.slow

ARMS = ("stage=evaluate", "evaluate.policies=[sft,dpo,ppo]", "evaluate.judge=false", "gates=off", "launch.parallel=2")
MEASURED = ("created", "seconds", "runtime", "checksum", "files", "git")  # fields about the run, not about its results


@pytest.fixture
def judged(chain: Chain, tmp_path: Path) -> Chain:
    """A project for one test with all artifacts that both arms start from."""
    return chain.beside(tmp_path / "outputs", chain.make("preferences"))


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported torch; those that a test stops are spawned, as shipped."""
    monkeypatch.setattr("pipeline.engine.workers.get_context", lambda method: FORKING)


@contextmanager
def started(chain: Chain, *overrides: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command in a separate process, which is ended afterwards."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(chain.command(*overrides), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the processes that run steps, without multiprocessing's helper."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def assert_all_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def weights(chain: Chain) -> dict[str, str]:
    """Return the hash of each version's weights."""
    folder = chain.store.root
    return {
        str(f.relative_to(folder)): file_hash(f) for f in folder.rglob("*.safetensors") if "checkpoints" not in str(f)
    }


def manifests(chain: Chain) -> dict[str, Any]:
    """Return the manifests without the fields of `MEASURED`."""
    found = {}
    for stage in chain.store.stages():
        for version in chain.store.versions(stage):
            whole = chain.store.read_manifest(stage, version)
            said = {key: value for key, value in whole.items() if key not in MEASURED}
            said["metrics"] = {k: v for k, v in whole["metrics"].items() if "memory" not in k and "seconds" not in k}
            said["files"] = sorted(whole["files"])
            found[f"{stage}@{version}"] = said
    return found


@pytest.mark.usefixtures("forked")
def test_one_after_the_other_and_side_by_side_are_equal(judged: Chain, tmp_path: Path) -> None:
    """Versions, weights and manifests are equal in every order of steps."""
    shutil.copytree(judged.outputs, tmp_path / "alone")
    alone = Chain(tmp_path / "alone")
    assert alone.run(*ARMS[:-1], "launch.parallel=1") == 0
    assert judged.run(*ARMS) == 0
    assert weights(judged) == weights(alone)
    assert manifests(judged) == manifests(alone)
    assert {"dpo", "reward", "ppo", "evaluate"} <= set(judged.store.stages())


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("parallel", [1, 2])
def test_an_arm_that_fails_does_not_take_the_other_with_it(
    judged: Chain, capfd: pytest.CaptureFixture[str], parallel: int
) -> None:
    """All other steps are made; the failure is reported when it happens, and again at the end with its status."""
    assert judged.run(*ARMS, "dpo.max_length=8", f"launch.parallel={parallel}") == 2
    printed = capfd.readouterr()
    assert len(judged.store.versions("ppo")) == 1
    assert judged.store.versions("dpo") == judged.store.versions("evaluate") == []
    assert "dpo         failed; stages that do not need it continue" in printed.err
    assert printed.err.splitlines()[-1].startswith("Error:")
    assert "fit" in printed.err or "long" in printed.err


def test_whoever_is_killed_or_interrupted_nothing_is_lost(judged: Chain, tmp_path: Path) -> None:
    """Ctrl-C, a killed parent, a killed worker: no process is left running, and the last run resumes the rest.

    Where the workers have to end with their parent, they are spawned, as shipped.
    """
    request = (*ARMS, "dpo.epochs=24", "ppo.watch_judge=false")  # without a judge, dpo starts at once
    with started(judged, *request) as process:
        until(lambda: len(workers(process)) == 2 and judged.store.unfinished("dpo"), "no dpo", seconds=120)
        there = workers(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert_all_gone(there)
    with started(judged, *request) as process:
        until(lambda: len(workers(process)) == 2, "no two workers", seconds=120)
        there = workers(process)
        process.kill()
        assert_all_gone(there)
    assert judged.store.versions("dpo") == []
    (version,) = judged.store.unfinished("dpo")
    folder = judged.store.directory("dpo", version)
    last = start_with_forked_workers(judged.arguments(*request), tmp_path / "printed")
    until(lambda: any(folder.glob("checkpoints/checkpoint-*/whole")), "no checkpoint", seconds=120)
    holder = (judged.store.root / "dpo" / f".{version}.holder").read_text()
    os.kill(int(holder.split()[1]), signal.SIGKILL)
    last.join(120)
    assert last.exitcode == 1
    assert "dpo: its process was killed (signal 9)" in (tmp_path / "printed").read_text()
    assert len(judged.store.versions("ppo")) == 1
    assert judged.run(*request, "launch.parallel=1") == 0
    assert "resumed from step" in (folder / "log.txt").read_text()
