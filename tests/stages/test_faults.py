"""Faults of users and machines: one clear message each, the right exit status, and no lost work."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stages.conftest import Chain

pytestmark = pytest.mark.slow

Run = subprocess.CompletedProcess[str]


def ended(command: list[str], **options: object) -> Run:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def assert_one_message(run: Run, status: int, *words: str) -> None:
    assert run.returncode == status, run.stdout + run.stderr
    assert sum(line.startswith("Error:") for line in run.stderr.splitlines()) == 1
    assert "Traceback" not in run.stderr + run.stdout
    for word in words:
        assert word in run.stderr


FILES = ("data=files", "stage=data")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("rows.jsonl", "No such file")),
        (b"", ("empty", "rows.jsonl")),
        (b"\xff\xfe\x00\x01", ("rows.jsonl", "Plain text")),
        (b'{"apples": 1}\n{"apples": 2}\n', ("rows.jsonl", "apples")),
        (b'{"instruction": "a", "input": "", "output": "b"}\n' + b'{"broken\n' * 3, ("line 2", "rows.jsonl")),
    ],
)
def test_data_that_cannot_be_used(chain: Chain, tmp_path: Path, content: bytes | None, words: tuple[str, ...]) -> None:
    file = tmp_path / "rows.jsonl"
    if content is not None:
        file.write_bytes(content)
    run = chain.ended(*FILES, f"data.path={file}")
    assert_one_message(run, 2, *words)


def test_one_wrong_role_costs_one_row_and_is_in_the_ledger(chain: Chain, tmp_path: Path) -> None:
    """All other rows are used; the ledger names file, line, field and role (axolotl#325)."""
    rows = [
        f'{{"messages": [{{"role": "user", "content": "q{i}"}}, {{"role": "assistant", "content": "a"}}]}}'
        for i in range(30)
    ]
    rows[7] = rows[7].replace('"user"', '"narrator"')
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    made = chain.make("data", "data=files", f"data.path={tmp_path / 'rows.jsonl'}")
    assert (made.metrics["read"], made.metrics["kept"], made.metrics["dropped"]) == (30, 29, 1)
    ledger = made.file("ledger.jsonl").read_text()
    assert '"line": 8' in ledger
    assert "narrator" in ledger


def test_a_row_that_may_not_be_dropped_is_refused(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": null}\n')
    run = chain.ended(*FILES, f"data.path={tmp_path / 'rows.jsonl'}", "data.on_bad_row=error")
    assert_one_message(run, 2, "line 2", "completion")


def test_simulated_annotators_know_only_the_playground(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    run = chain.ended("stage=dpo", "data=files", f"data.path={tmp_path / 'rows.jsonl'}")
    assert_one_message(run, 2, "labeling=file")


def test_a_model_folder_without_a_model(chain: Chain, tmp_path: Path) -> None:
    run = chain.ended("stage=sft", f"model.path={tmp_path}")
    assert_one_message(run, 2, str(tmp_path), "config.json")


def test_a_full_disk_is_said_and_the_same_command_goes_on(new_chain: Callable[[], Chain]) -> None:
    """A limit on file size simulates a full disk: writing the weights fails in the same way."""
    chain = new_chain()
    assert chain.run("stage=data") == 0
    run = chain.ended("stage=base", largest_file=200_000)
    assert_one_message(run, 1, "too large", "the same command continues")
    assert not chain.store.versions("base")
    assert chain.run("stage=base") == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB that can be filled and made read-only; needs permission to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or ended(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]).returncode
    ):
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_really_is_full(small_disk: Path) -> None:
    run = Chain(small_disk / "outputs").ended("stage=base")
    assert_one_message(run, 1, "disk is full")


@pytest.mark.parametrize("left", [0, 4, 40, 200])
def test_a_disk_that_is_full_is_one_message_wherever_it_fills(small_disk: Path, tmp_path: Path, left: int) -> None:
    """In the log, in W&B's log, in temporary files of the comparison of rows, in its results."""
    rows = [f'{{"prompt": "What is number {n} good for?", "completion": "For {7 * n} things."}}\n' for n in range(99)]
    (tmp_path / "rows.jsonl").write_text("".join(rows * 3))
    with contextlib.suppress(OSError):
        (small_disk / "fill").write_bytes(bytes(2**20 - left * 1024))
    own = ("data=files", f"data.path={tmp_path / 'rows.jsonl'}", "tracking=offline")
    run = Chain(small_disk / "outputs").ended("stage=data", *own)
    assert_one_message(run, 1)
    assert "the disk is full" in run.stderr or "No space left on device" in run.stderr


def test_a_read_only_folder(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    run = Chain(small_disk / "outputs").ended("stage=data")
    assert_one_message(run, 1, "Read-only", str(small_disk))


def test_outputs_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    run = Chain(tmp_path / "outputs").ended("stage=data")
    assert_one_message(run, 1, str(tmp_path / "outputs"))


def test_two_runs_at_once(new_chain: Callable[[], Chain]) -> None:
    """The second run names the first one; the first one succeeds."""
    chain = new_chain()
    request = ("stage=base", "base.steps=150")
    first = chain.start(*request)
    while not list((chain.outputs / "playground" / "base").glob("*/log.txt")):
        assert first.is_alive()
        time.sleep(0.05)
    second = chain.ended(*request)
    assert_one_message(second, 1, f"process {first.pid}")
    first.join(120)
    assert first.exitcode == 0


def test_an_interrupt_ends_with_130_and_keeps_what_is_done(new_chain: Callable[[], Chain], tmp_path: Path) -> None:
    chain = new_chain()
    process = chain.start("stage=base", "base.steps=400", "base.checkpoints=40", err=tmp_path / "err")
    while not list((chain.outputs / "playground" / "base").glob("*/checkpoints/*/whole")):
        assert process.is_alive()
        time.sleep(0.05)
    assert process.pid
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert chain.store.unfinished("base")


def test_a_fault_of_our_own_code_is_one_message_and_a_traceback_in_the_log(tmp_path: Path) -> None:
    """For any exception in a stage the log has the traceback, and the terminal has one line."""
    program = (
        "import sys; from pipeline.stages import data\n"
        "import dataclasses, pipeline.stages as table\n"
        "def broken(config, context): raise ZeroDivisionError('by design')\n"
        "table.STAGES['data'] = dataclasses.replace(data.STAGE, run=broken)\n"
        "from pipeline.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    run = ended([sys.executable, "-c", program, f"outputs={tmp_path}", "stage=data", "tracking=off"], env=os.environ)
    assert_one_message(run, 1, "ZeroDivisionError", "log.txt")
    (log,) = tmp_path.glob("playground/data/*/log.txt")
    assert "Traceback" in log.read_text()
