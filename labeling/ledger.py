"""What annotators did in a span of time, in the figures that a lead pays by. Pure functions.

An answer is *accepted* unless it fails gold, or comes faster than its texts can be read. The time of an answer is the
time since the same annotator's answer before (`labeling.pace`); the first answer after a pause has no known start, and
counts as long as that annotator's median. Answers within a second of each other were sent together, so they are not
judged by their pace.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from statistics import median

from labeling.backend import AnnotatorAnswer
from labeling.exchange.tables import escape_formula
from labeling.pace import BREAK, BY_HAND, reading_seconds
from labeling.projects import AnsweredRound
from labeling.records import compare

COLUMNS = ("annotator", "submitted", "accepted", "gold_failed", "too_fast", "discarded", "seconds")


@dataclass(frozen=True)
class Work:
    """One answer: when it was given, how long it took (None: not known), and why it is not accepted, if it is not."""

    annotator: str
    when: datetime
    seconds: float | None
    submitted: bool
    fails_gold: bool
    too_fast: bool


@dataclass(frozen=True)
class LedgerRow:
    """One annotator's work in the span; `seconds` are those of submitted and discarded answers."""

    annotator: str
    submitted: int
    accepted: int
    gold_failed: int
    too_fast: int
    discarded: int
    seconds: float


def ledger(rounds: Iterable[AnsweredRound], start: datetime | None, end: datetime | None) -> list[LedgerRow]:
    """The annotators with an answer first given from `start` on and before `end`, sorted by name.

    Rankings, blind tests and reviews of drafts count, repeats and gold included.
    """
    found = []
    for name, work in sorted(_work(rounds).items()):
        usual = median([one.seconds for one in work if one.seconds is not None] or [0.0])
        inside = [one for one in work if (start is None or start <= one.when) and (end is None or one.when < end)]
        if inside:
            found.append(_row(name, inside, usual))
    return found


def as_csv(rows: Iterable[LedgerRow]) -> str:
    """The rows as a table with a header; names that a spreadsheet would run are escaped."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [escape_formula(row.annotator), *(getattr(row, name) for name in COLUMNS[1:-1]), round(row.seconds)]
        writer.writerow(cells)
    return text.getvalue()


def _row(name: str, work: Sequence[Work], usual: float) -> LedgerRow:
    given = [one for one in work if one.submitted]
    return LedgerRow(
        name,
        submitted=len(given),
        accepted=sum(not (one.fails_gold or one.too_fast) for one in given),
        gold_failed=sum(one.fails_gold for one in given),
        too_fast=sum(one.too_fast for one in given),
        discarded=len(work) - len(given),
        seconds=sum(usual if one.seconds is None else one.seconds for one in work),
    )


def _work(rounds: Iterable[AnsweredRound]) -> dict[str, list[Work]]:
    """Annotator -> all answers in the order in which they were given, over all rounds."""
    given: dict[str, list[tuple[datetime, AnsweredRound, AnnotatorAnswer]]] = defaultdict(list)
    reading: dict[tuple[str, str], float] = {}
    for one in rounds:
        reading |= {(one.name, task["id"]): reading_seconds(task) for task in one.tasks}
        for answer in one.answers:
            given[answer["annotator"]].append((in_utc(answer["answered"]), one, answer))
    found: dict[str, list[Work]] = {}
    for name, own in given.items():
        own.sort(key=lambda timed: timed[0])
        before: datetime | None = None
        for when, asked, answer in own:
            gap = (when - before).total_seconds() if before else None
            least, before = reading[asked.name, answer["task"]], when
            work = Work(
                name,
                when,
                seconds=gap if gap is not None and gap <= BREAK else None,
                submitted=answer["status"] == "submitted",
                fails_gold=_fails_gold(answer, asked.checks["gold"]),
                too_fast=gap is not None and BY_HAND <= gap < least,
            )
            found.setdefault(name, []).append(work)
    return found


def in_utc(time: str) -> datetime:
    """An ISO 8601 time; without a zone it is in UTC, as Argilla's are."""
    when = datetime.fromisoformat(time)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _fails_gold(answer: AnnotatorAnswer, gold: Mapping[str, Sequence[int]]) -> bool:
    """Whether a pair of responses that gold orders is in another order, or tied."""
    known, ranks = gold.get(answer["task"], ()), answer["ranks"]
    pairs = combinations(range(len(known)), 2)
    return ranks is not None and any(compare(known, *pair) not in (0, compare(ranks, *pair)) for pair in pairs)
