"""What lies on disk while rows are compared, what other processes do, and files that appear whole or not at all."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.data.parallel import MIN_PIECES, map_in_order
from pipeline.data.scratch import Scratch
from pipeline.data.writing import line_writer, write_lines
from pipeline.errors import PipelineError
from tests.places import ROOT


def test_lines_and_columns_come_back(tmp_path: Path) -> None:
    with Scratch(tmp_path / "scratch") as scratch:
        scratch.add(["a", "\u2028é"], {"n": np.array([1, 2]), "m": np.arange(6, dtype=np.uint32).reshape(2, 3)})
        scratch.add([], {"n": np.array([], dtype=np.int64), "m": np.empty((0, 3), dtype=np.uint32)})
        scratch.add(["c"], {"n": np.array([3]), "m": np.full((1, 3), 9, dtype=np.uint32)})
    assert list(scratch.lines()) == ["a\n", "\u2028é\n", "c\n"]
    assert list(scratch.column("n")) == [1, 2, 3]
    assert scratch.column("m").tolist() == [[0, 1, 2], [3, 4, 5], [9, 9, 9]]


def test_nothing_at_all_comes_back_as_nothing(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        scratch.add([], {"n": np.empty(0, dtype=np.int64)})
    assert list(scratch.lines()) == []
    assert len(scratch.column("n")) == 0


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("pieces", [0, 1, MIN_PIECES, 30])
def test_results_come_in_the_order_of_the_pieces(processes: int, pieces: int) -> None:
    assert list(map_in_order(abs, iter(range(0, -pieces, -1)), processes)) == list(range(pieces))


def test_what_a_process_raises_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(one_over, range(MIN_PIECES, -1, -1), 2))


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from pipeline.data.parallel import MIN_PIECES, map_in_order\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "def work(number):\n"
        "    (folder / f'pid-{os.getpid()}').touch()\n"
        "    time.sleep(0.2)\n"
        "if __name__ == '__main__':\n"
        "    list(map_in_order(work, range(1000), 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    waited(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    parent.kill()
    parent.wait()
    workers = [int(file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")]
    waited(lambda: not any(running(pid) for pid in workers))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # an orphan may never be collected
    except psutil.NoSuchProcess:
        return False


def waited(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def one_over(number: int) -> float:
    return 1 / number


def test_a_file_appears_only_once_its_block_has_ended_well(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ZeroDivisionError), line_writer(path) as write:
        write(f"half {1 / 0}")
    assert list(tmp_path.iterdir()) == []
    write_lines(path, ["whole", "\ud800"])
    assert path.read_text() == "whole\n\\ud800\n"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"rows\.jsonl could not be written"):
        write_lines(tmp_path / "missing" / "rows.jsonl", ["a"])
