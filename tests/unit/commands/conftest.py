"""Shared by the tests of commands: a command run in the test's own process, with its output."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.__main__ import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its status, its output and its errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def asked(outputs: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Like `said`, on the test's own outputs, with single spaces in the output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*arguments, f"outputs={outputs}"])
        captured = capsys.readouterr()
        return status, re.sub(r" +", " ", captured.out), captured.err

    return run
