"""The report on user data: rows that were read, left out (with reasons), repaired, and kept.

It is one self-contained HTML file with the style sheet of the report on policies, without scripts or external files.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from pipeline.data.cleaning.table import RULES
from pipeline.data.ledger import STEPS, Dropped, Ledger
from pipeline.data.pipeline import Gathered
from pipeline.data.row_cleaning import ROLES, Change
from pipeline.data.statistics import Statistics
from pipeline.files import write_atomically
from pipeline.report import bars
from pipeline.report.policies import environment

ALL = "all"
PARTS = {
    "sft": "to learn from (SFT)",
    "dev": "to evaluate SFT on",
    "preference": "prompts to ask people about",
    "rl": "prompts for RL",
    "test": "prompts to test on",
}


class Level(NamedTuple):
    """A level of the funnel: its description, and the number of rows per source and in total."""

    words: str
    kept: bool  # whether these rows are still there, or were left out
    counts: list[int]
    share: float  # of all rows read


class Reason(NamedTuple):
    """A reason for leaving out rows: its step, the number of rows, and a few examples."""

    step: str
    reason: str
    rows: int
    examples: Sequence[Dropped]


class RuleSeen(NamedTuple):
    """The effects of one cleaning rule."""

    name: str
    why: str
    mode: str
    changed: int
    flagged: int
    examples: Sequence[Change]


def write_data_report(
    path: Path,
    *,
    project: str,
    gathered: Gathered,
    rows: Mapping[str, int],
    contested: int,
    modes: Mapping[str, str],
    statistics: Statistics,
) -> None:
    """Write the report. `rows` maps each written file to its number of rows, `modes` each cleaning rule to its mode."""
    ledger, names = gathered.ledger, [source.name for source in gathered.sources]
    html = (
        environment()
        .get_template("data_report.html.jinja")
        .render(
            project=project,
            sources=gathered.sources,
            formats={name: list(found) for name, found in gathered.readings.items()},
            sentences=gathered.sentences(),
            by_source=statistics.by_source(),
            columns=[*names, ALL] if len(names) > 1 else [ALL],
            levels=list(funnel(ledger, names)),
            parts=[(words, rows[part]) for part, words in PARTS.items()],
            reasons=list(reasons(ledger)),
            rules=list(rules(gathered, modes)),
            contested=contested,
            ledger=ledger,
            lengths=list(_lengths(statistics)),
            turns=sorted(statistics.turns.items()),
            unit=statistics.units["conversations"],
            distinct=statistics.distinct(),
            openings=statistics.openings(),
            topics=statistics.topics(),
        )
    )
    write_atomically(path, html.encode("utf-8", "replace").decode("utf-8"))  # UTF-8 cannot encode a lone surrogate


def funnel(ledger: Ledger, names: Sequence[str]) -> Iterator[Level]:
    """Yield levels from all rows read to the rows kept, with one level for each step that left rows out."""

    def level(words: str, kept: bool, counts: Sequence[int]) -> Level:
        total = sum(counts)
        return Level(words, kept, [*counts, total] if len(names) > 1 else [total], total / max(ledger.read, 1))

    yield level("read", True, [ledger.reads[name] for name in names])
    left = Counter(ledger.reads)
    for step, words in STEPS.items():
        lost = Counter({name: ledger.of(name, step) for name in names})
        left -= lost
        if lost.total():
            yield level(words, False, [lost[name] for name in names])
    yield level("kept", True, [left[name] for name in names])


def reasons(ledger: Ledger) -> Iterator[Reason]:
    """Yield every reason for leaving out rows, in the order of the steps, the most frequent first."""
    for step, words in STEPS.items():
        for reason, count in ledger.reasons(step).items():
            yield Reason(words, reason, count, ledger.first[step, reason])


def rules(gathered: Gathered, modes: Mapping[str, str]) -> Iterator[RuleSeen]:
    """Yield the number of rows that each active rule changed or flagged. Rows that rules left out are in `reasons`."""
    for name, why in ((ROLES, "who speaks when"), *((rule.name, rule.why) for rule in RULES)):
        if modes.get(name, "off") != "off":
            examples = gathered.examples.get(name, [])
            yield RuleSeen(name, why, modes[name], gathered.changed[name], gathered.flagged[name], examples)


def _lengths(statistics: Statistics) -> Iterator[tuple[str, str, Markup]]:
    """Yield (measured part, quantiles as text, histogram)."""
    for what, found in statistics.lengths().items():
        caption = f"{found['unit']}; half have up to {found['median']:,.0f}, 95% up to {found['p95']:,.0f}"
        yield what, caption, bars.doubling(found["counts"], 1, found["unit"])
