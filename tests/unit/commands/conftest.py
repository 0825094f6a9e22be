"""Shared by the tests of commands: a command run in the test's own process, with its output."""

from collections.abc import Callable

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
