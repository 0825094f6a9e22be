"""A log of rows survives a kill at any byte: what is read are its first rows, and going on gives all of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.row_log import RowLog
from tests.disks import room_for
from tests.examples import at_most
from tests.places import ROOT

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # line ends of all kinds, halves of surrogate pairs
ANY_ROW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def test_cut_at_every_byte_it_reads_as_its_first_rows_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "a\u2028b\x85\nc\r"}, [], "\ud800 é", 12, {"text": "}"}]
    whole = written(path, rows)
    for cut in range(len(whole) + 1):
        check_cut(path, rows, whole, cut)


@given(rows=st.lists(ANY_ROW, max_size=4), share=st.floats(0, 1))
@at_most(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_cut_anywhere_read_as_the_first_and_go_on(tmp_path: Path, rows: list[Any], share: float) -> None:
    path = tmp_path / "rows.jsonl"
    whole = written(path, rows)
    check_cut(path, rows, whole, round(share * len(whole)))


def written(path: Path, rows: list[Any]) -> bytes:
    path.unlink(missing_ok=True)
    log = RowLog(path)
    for row in rows:
        log.append(row)
    return path.read_bytes() if rows else b""


def check_cut(path: Path, rows: list[Any], whole: bytes, cut: int) -> None:
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == len(rows)
    path.write_bytes(whole[:cut])
    opened = RowLog(path)
    assert opened.rows == rows[: sum(end <= cut for end in ends)]
    opened.append(*rows[len(opened.rows) :])
    assert path.read_bytes() == whole
    assert RowLog(path).rows == opened.rows == rows


def test_a_last_row_that_the_disk_has_only_in_part_is_made_again(tmp_path: Path) -> None:
    """The line's end can reach a disk before what stands before it."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1]\n" + bytes(7) + b"\n")
    assert RowLog(path).rows == [[1]]
    assert path.read_bytes() == b"[1]\n"


@pytest.mark.parametrize("damaged", [b'{"a": 1}\n{"b"\n{"c": 3}\n', b'{"a": 1}\n\n{"c', b'\xff\n{"a": 1}\n'])
def test_damage_before_the_last_row_is_told_and_nothing_is_lost(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(damaged)
    with pytest.raises(PipelineError, match=r"rows\.jsonl, line [12]: not valid JSON, although rows follow"):
        RowLog(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    log = RowLog(path)
    log.append("first")
    with room_for(20), pytest.raises(OSError, match="File too large"):
        log.append("x" * 100)
    log.append("second")
    assert RowLog(path).rows == log.rows == ["first", "second"]


def test_no_file_is_made_for_no_rows(tmp_path: Path) -> None:
    assert RowLog(tmp_path / "rows.jsonl").rows == []
    assert [*tmp_path.iterdir()] == []


def test_rows_that_are_kept_replace_the_others(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "rows.jsonl")
    log.append(1, 2, 3)
    log.keep([1, 2])
    log.append(4)
    assert RowLog(tmp_path / "rows.jsonl").rows == log.rows == [1, 2, 4]


def test_a_kill_in_the_middle_loses_no_row_that_was_told_of(tmp_path: Path) -> None:
    """Another process adds large rows and prints the number of each once it is kept; it is killed at any moment."""
    path = tmp_path / "rows.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.row_log import RowLog\nlog = RowLog(Path(sys.argv[1]))\n"
        "for n in range(len(log.rows), 10**9):\n    log.append([n] * 50_000)\n    print(n, flush=True)\n"
    )
    for attempt in range(3):
        with subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            other.stdout.readline()
            time.sleep(0.013 * (attempt + 1))
            other.send_signal(signal.SIGKILL)
            told = [int(line) for line in other.stdout.read().split()]
        rows = RowLog(path).rows
        assert [row[0] for row in rows] == [*range(len(rows))]
        assert len(rows) > max(told, default=0)
        assert all(len(row) == 50_000 for row in rows)
    assert os.path.getsize(path) == sum(len(json.dumps(row)) + 1 for row in rows)
