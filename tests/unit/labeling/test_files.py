"""Files that are whole or not there: full disks, faults in between, kills; and no writer that goes another way."""

import ast
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.files import is_temporary, open_atomically, write_atomically
from pipeline.data.writing import line_writer
from pipeline.errors import PipelineError
from tests.disks import room_for
from tests.places import ROOT

METHODS = {"write_text", "write_bytes", "fdopen", "mkstemp", "NamedTemporaryFile"}
FUNCTIONS = {"save_file", "mkstemp", "NamedTemporaryFile"}
FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT"}

MAY_WRITE = {
    "labeling/files.py": "the one that all others use",
    "labeling/server/home.py": "a lock file, which has no content",
    "labeling/server/inside/boot.py": "runs in the server's environment; a mark that is half there does not match",
    "labeling/server/inside/front.py": "runs in the server's environment; a copy of its pages, made at each start",
    "labeling/server/inside/leases.py": "runs in the server's environment; a line that is cut off is not read",
    "labeling/server/launch.py": "a log that a process writes to as it starts",
    "pipeline/data/scratch.py": "a folder of its own that is removed after use",
    "pipeline/modeling/handover.py": "an adapter in a folder that gets its name when it is whole",
    "pipeline/modeling/memory.py": "a switch of the kernel's",
    "pipeline/modeling/roles.py": "weights in an artifact's folder: its manifest comes last",
    "pipeline/modeling/exact_checkpoints.py": "weights in a checkpoint: the mark that it is whole comes last",
    "pipeline/ppo/checkpoints.py": "weights in a checkpoint: the mark that it is whole comes last",
    "pipeline/row_log.py": "rows are added to a file: one that was cut off is removed when it is opened again",
    "pipeline/store/locks.py": "who holds a lock: read for a message alone",
}


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: str | None, size: int) -> None:
    """Whether the first bytes or only the last of the buffer find no room."""
    path = tmp_path / "rows.jsonl"
    if before is not None:
        path.write_text(before)
    with room_for(5), pytest.raises(OSError, match="File too large"):
        write_atomically(path, "x" * size)
    with room_for(5), pytest.raises(PipelineError, match=r"rows\.jsonl could not be written: File too large"):  # noqa: SIM117
        with line_writer(path) as write:
            write("x" * size)
    assert (path.read_text() if path.exists() else None) == before
    assert [*tmp_path.iterdir()] == ([path] if before is not None else [])


def test_a_fault_while_writing_is_the_one_that_is_told(tmp_path: Path) -> None:
    """What reads the rows fails in its own words: it is not taken for a fault of the disk that is written to."""
    with pytest.raises(FileNotFoundError, match="missing"), line_writer(tmp_path / "rows.jsonl") as write:
        write((tmp_path / "missing").read_text())
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_a_kill_leaves_the_old_content(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "pointer"
    write_atomically(path, "old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom labeling.files import write_atomically\n"
        f"{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nwrite_atomically(Path(sys.argv[1]), 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False, cwd=ROOT).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = {*tmp_path.iterdir()} - {path}
    assert is_temporary(left)


def test_an_owners_file_is_never_open_to_others(tmp_path: Path) -> None:
    """Neither under its temporary name, nor where a killed process left an open file of that name, nor afterwards."""
    path = tmp_path / "secrets.json"
    path.write_text("old")
    (tmp_path / f".secrets.json.{os.getpid()}.tmp").write_text("left behind")
    with open_atomically(path, owner_only=True) as stream:
        (beside,) = {*tmp_path.iterdir()} - {path}
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600
        stream.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"new"


def test_other_files_are_for_whom_the_umask_lets(tmp_path: Path) -> None:
    write_atomically(tmp_path / "made", "text")
    (tmp_path / "plain").touch()
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_no_module_writes_a_file_in_another_way() -> None:
    """A writer that can leave half a file stands in MAY_WRITE with its reason, or uses `labeling.files`."""
    found = {
        path.relative_to(ROOT).as_posix(): sorted(set(_writing_calls(path)))
        for room in ("pipeline", "labeling")
        for path in (ROOT / room).rglob("*.py")
    }
    writers = {path: lines for path, lines in found.items() if lines}
    assert {path: lines for path, lines in writers.items() if path not in MAY_WRITE} == {}
    assert set(MAY_WRITE) - set(writers) == set(), "these write nothing any more"


def _writing_calls(path: Path) -> Iterator[int]:
    """The lines on which a file is opened for writing, or written at once."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (_is_writer(node.func) or _opens_to_write(node)):
            yield node.lineno


def _is_writer(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr in METHODS or ast.unparse(called) == "torch.save"
    return isinstance(called, ast.Name) and called.id in FUNCTIONS


def _opens_to_write(call: ast.Call) -> bool:
    if ast.unparse(call.func).rpartition(".")[2] != "open":
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    flags = {part.attr for one in given for part in ast.walk(one) if isinstance(part, ast.Attribute)}
    return bool(flags & FLAGS) or any(re.fullmatch(r"(?=.*[wax+])[rwaxbt+]{1,3}", text) for text in texts)
