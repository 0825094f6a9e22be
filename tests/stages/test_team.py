"""`launch.processes` and torchrun start the processes; one that is killed ends all, and the next run resumes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import until
from tests.stages.conftest import Chain
from tests.stages.processes import start_with_forked_workers
from tests.stages.test_distributed import assert_equal_results, copy_of, differing, launched
from tests.stages.test_parallel import assert_all_gone, workers

pytestmark = pytest.mark.slow

LONG = ("stage=sft", "sft.epochs=40")
TOGETHER = "launch.processes=2"


@contextmanager
def forked(chain: Chain, printed: Path, *overrides: str) -> Iterator[BaseProcess]:
    """Run a command whose processes are forked from one that has imported torch; it is ended afterwards."""
    process = start_with_forked_workers(chain.arguments(*overrides), printed)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def members(command: BaseProcess) -> list[psutil.Process]:
    """Return the processes of a forked command's team, in their order: all are forked from the same one."""
    others = [each for each in psutil.Process(command.pid).parent().children() if each.pid != command.pid]
    return sorted(others, key=lambda member: member.create_time())


@contextmanager
def started(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a command, which is ended afterwards."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_all_and_the_next_run_resumes(chain: Chain, tmp_path: Path, number: int) -> None:
    """One message names it, the status is 1, no process is left; one process resumes what two have begun."""
    one = chain.make("sft", *LONG)
    other = copy_of(chain, tmp_path, "sft")
    folder = other.store.directory("sft", one.version)
    with forked(other, tmp_path / "printed", *LONG, TOGETHER) as process:
        until(lambda: any(folder.glob("checkpoints/checkpoint-*/whole")), "no checkpoint", seconds=240)
        team = members(process)
        assert len(team) == 2
        os.kill(team[number].pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode == 1
        assert_all_gone(team)
    printed = (tmp_path / "printed").read_text()
    errors = [line for line in printed.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert f"sft: process {number + 1} of 2 was killed (signal 9)" in errors[0]
    assert not (folder / "manifest.json").exists()
    assert "Traceback" not in printed
    assert other.run(*LONG) == 0
    assert "resumed from step" in (folder / "log.txt").read_text()
    assert differing(one.metrics, other.store.open("sft", one.version).metrics) == []


def test_ctrl_c_ends_all(chain: Chain, tmp_path: Path) -> None:
    chain.make("sft", *LONG)
    other = copy_of(chain, tmp_path, "sft")
    with forked(other, tmp_path / "printed", *LONG, TOGETHER) as process:
        until(lambda: len(members(process)) == 2 and other.store.unfinished("sft"), "no sft", seconds=240)
        team = members(process)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130
        assert_all_gone(team)


def test_a_fault_of_the_request_is_one_message_with_status_2(chain: Chain, tmp_path: Path) -> None:
    """Both processes find it."""
    chain.make("preferences")
    other = copy_of(chain, tmp_path, "dpo")
    with forked(other, tmp_path / "printed", "stage=dpo", "gates=off", "dpo.max_length=8", TOGETHER) as process:
        process.join(400)
        assert process.exitcode == 2
    printed = (tmp_path / "printed").read_text()
    assert printed.count("Error:") == 1
    assert "fit" in printed or "long" in printed
    assert other.store.versions("dpo") == []


def test_torchrun_makes_the_same_version(chain: Chain, tmp_path: Path) -> None:
    one = chain.make("sft")
    other = copy_of(chain, tmp_path, "sft")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    command = [*torchrun, *other.command("stage=sft")[2:]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("playground · ") == 1
    assert_equal_results(one, other.store.open("sft", one.version))
    assert launched(tmp_path, other.arguments("stage=sft", "launch.processes=3")) == [2, 2]
    assert "launch.processes=3: 2 processes were launched" in (tmp_path / "err-0").read_text()


def test_the_parent_s_death_ends_all(chain: Chain, tmp_path: Path) -> None:
    """These are spawned, as shipped."""
    chain.make("sft", *LONG)
    other = copy_of(chain, tmp_path, "sft")
    with started(other.command(*LONG, TOGETHER)) as process:
        until(lambda: len(workers(process)) == 2, "no two processes", seconds=240)
        team = workers(process)
        process.kill()
        assert_all_gone(team)
