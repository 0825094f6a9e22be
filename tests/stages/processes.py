"""Runs commands in separate processes without importing torch again in each.

They are forked from a process that has imported torch and Hydra (`preloaded`); otherwise they are like real commands.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

FORKING = get_context("forkserver")
FORKING.set_forkserver_preload(["tests.stages.preloaded"])
PLACE = ("_forkserver_address", "_forkserver_authkey")  # where processes ask for new ones; the key is Python 3.14's


def start(
    arguments: Sequence[str],
    *,
    out: Path | str = os.devnull,
    err: Path | str = os.devnull,
    cwd: Path | str = ".",
    largest_file: int | None = None,
) -> BaseProcess:
    """Start `python -m pipeline` with these arguments; its output goes into the files.

    It can write no file of more than `largest_file` bytes, if that is given.
    """
    process = FORKING.Process(target=run_command, args=(arguments, out, err, cwd, largest_file))
    process.start()
    return process


def ended(
    arguments: Sequence[str], cwd: Path | str = ".", largest_file: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end and return status and output."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start(arguments, out=out, err=err, cwd=cwd, largest_file=largest_file)
        process.join(120)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{arguments}: not over after two minutes")
        return subprocess.CompletedProcess(list(arguments), process.exitcode or 0, out.read_text(), err.read_text())


def run_command(
    arguments: Sequence[str],
    out: Path | str,
    err: Path | str,
    cwd: Path | str = ".",
    largest_file: int | None = None,
) -> None:
    """Be the command: its output goes into the files, which can be the same one, and its status ends the process."""
    from pipeline.__main__ import main

    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.chdir(cwd)
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.exit(main(arguments))


def start_with_forked_workers(arguments: Sequence[str], printed: Path) -> BaseProcess:
    """Start a command whose workers are forked from the same process as it is itself; its output goes into the file."""
    forkserver.ensure_running()
    place = {name: value for name, value in vars(forkserver._forkserver).items() if name in PLACE}
    process = FORKING.Process(target=_run_with_forked_workers, args=(arguments, printed, place))
    process.start()
    return process


def _run_with_forked_workers(arguments: Sequence[str], printed: Path, place: Mapping[str, Any]) -> None:
    vars(forkserver._forkserver).update(place, ensure_running=lambda: None)  # otherwise this process starts its own
    with patch("pipeline.engine.workers.get_context", lambda method: FORKING):
        run_command(arguments, printed, printed)
