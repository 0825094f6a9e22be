"""The command `report`: one page for the labeling lead."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.commands import command, console
from labeling.commands.sources import connection_of, facts_of, project_argument
from labeling.commands.status import datasets
from labeling.exchange.files import write_text
from labeling.report.facts import Facts
from labeling.report.page import render, verdict_text

ABOUT = """\
Writes one HTML page for the labeling lead: annotators not to rely on and the line that leaves them out,
progress, agreement with intervals, a table of all annotators, and the prompts on which they agree least.

  report                        of the only project that people answered in on this machine
  report outputs/support        of this project
  report rankings.jsonl         of a file that `collect` or `import` wrote, or any other that `import` reads

A project's answers are read from their copies in it, after they were copied from the server if it runs. The same
answers count as for `collect`: none that became a draft again or was withdrawn, and none of a deleted account. The page
has prompts, answers and comments: share it like the data.
"""
PROMPTS = 10


def report(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    facts = facts_of(options.source, options.home)
    target: Path = options.to
    write_text(target, render(facts, options.prompts, _complete(facts, options.home)))
    console.print(escape(verdict_text(facts)))
    console.print(f"Report  {escape(str(target))}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command("report", ABOUT)
    project_argument(parser, or_file=True)
    where = "the page to write; an existing one is replaced (%(default)s)"
    parser.add_argument("--to", type=Path, default=Path("labeling-report.html"), metavar="FILE", help=where)
    prompts = "most prompts to show (%(default)s)"
    parser.add_argument("--prompts", type=int, default=PROMPTS, metavar="N", help=prompts)
    options = parser.parse_args(arguments)
    if options.prompts < 0:
        parser.error(f"--prompts must be 0 or more, but is {options.prompts}")
    if options.to.suffix.lower() not in (".html", ".htm"):
        parser.error(f"--to {options.to}: the report is a page; its name ends with .html")
    return options


def _complete(facts: Facts, home: Path | None) -> dict[str, tuple[int, int]]:
    """Return (complete records, all records) of the project's data sets on the server, if it runs."""
    connection = connection_of(home) if facts.project else None
    found = datasets(connection) if connection else []
    return {one["name"]: (one["completed"], one["total"]) for one in found if one["workspace"] == facts.project}
