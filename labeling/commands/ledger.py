"""The command `ledger`: what annotators are paid by, as CSV."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from labeling.commands import command
from labeling.commands.sources import found_source, fresh_project, project_argument
from labeling.ledger import as_csv, in_utc, ledger

ABOUT = """\
Prints what each annotator did, as CSV: what a lead pays by.

  ledger --from 2026-11-01 --to 2026-11-30 > november.csv
  ledger outputs/support                              since the beginning

  submitted    answers that were first given in this time: rankings, blind tests, reviews of drafts; a repeat or a gold
               prompt is an answer like any other
  accepted     submitted, less those that fail gold or come too fast
  gold_failed  an answer to a prompt with known ranks that has two answers in the wrong order
  too_fast     an answer that came sooner after the one before than its texts can be read (60 characters a second)
  discarded    prompts that the annotator discarded
  seconds      time at work: from each answer to the next, without pauses of more than half an hour; the first answer
               after a pause counts as long as the annotator's median

Answers are read from their copies in the project, after they were copied from the server if it runs. An answer that was
changed later keeps its first time. Answers that became a draft again, that were withdrawn, or whose account was deleted
are left out, and told. Days begin at midnight UTC.
"""


def print_ledger(arguments: Sequence[str]) -> int:
    parser = command("ledger", ABOUT)
    project_argument(parser, or_file=False)
    when = "a day (2026-11-01), or a time (2026-11-01T09:30+01:00; without a zone it is in UTC)"
    parser.add_argument("--from", dest="start", type=_start, metavar="DAY", help=f"{when}; default: the beginning")
    parser.add_argument("--to", dest="end", type=_end, metavar="DAY", help="the last day, included, or a time before")
    options = parser.parse_args(arguments)
    if options.start and options.end and options.start >= options.end:
        parser.error("--from is not before --to")
    project = fresh_project(found_source(options.source, options.home), options.home)
    sys.stdout.write(as_csv(ledger(project.rounds, options.start, options.end)))
    return 0


def _start(text: str) -> datetime:
    found = _day_or_time(text)
    return found if isinstance(found, datetime) else datetime.combine(found, time(), UTC)


def _end(text: str) -> datetime:
    """The first moment that does not count."""
    found = _day_or_time(text)
    return found if isinstance(found, datetime) else datetime.combine(found, time(), UTC) + timedelta(days=1)


def _day_or_time(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text) if len(text) <= len("2026-11-01") else in_utc(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"write a day as 2026-11-01, or a time as 2026-11-01T09:30, not {text}"
        ) from None
