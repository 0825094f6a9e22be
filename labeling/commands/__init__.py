"""The commands of `python -m labeling`: each is a function that takes the arguments and returns the exit status.

A command's module is imported only when the command is called.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from labeling.backend import LabelingError

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports faults like all commands: one message, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise LabelingError(f"{message}. {self.format_usage().strip()}", fault="request")


def command(name: str, about: str) -> Parser:
    """Return a parser for one command."""
    return Parser(
        prog=f"python -m labeling {name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def home_option(parser: argparse._ActionsContainer) -> None:
    """Add the option `--home`, for commands that also work with a server elsewhere."""
    parser.add_argument(
        "--home",
        type=Path,
        help="the server's folder (outputs/.argilla); without it, ARGILLA_API_URL and ARGILLA_API_KEY can name another",
    )


def _in(module: str, function: str) -> Callable[[Sequence[str]], int]:
    def call(arguments: Sequence[str]) -> int:
        status: int = getattr(import_module(f"labeling.commands.{module}"), function)(arguments)
        return status

    return call


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _in("serve", "serve"),
    "users": _in("users", "users"),
    "status": _in("status", "status"),
    "report": _in("report", "report"),
    "adjudicate": _in("adjudicate", "adjudicate"),
    "ledger": _in("ledger", "print_ledger"),
    "import": _in("exchange", "import_"),
    "export": _in("exchange", "export"),
}


def is_remote(home: Path | None) -> bool:
    """Return whether a command uses the server that the environment names."""
    return home is None and bool(os.environ.get("ARGILLA_API_URL"))
