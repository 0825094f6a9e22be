"""The report for the labeling lead: one self-contained HTML file without scripts and network access.

Prompts, answers, comments and names come from models, files and people, so the templates escape all text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from labeling.questions import LETTERS
from labeling.readings import read_alpha, read_kendall_w, read_pairwise
from labeling.records import Ranking
from labeling.report.facts import Facts, Hard, hardest
from labeling.suspects import MIN_ASSESSED, MIN_TASKS, REASONS, Suspect, exclusion, sentence

UNSEEN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}  # shown as ␀, ␁, …


def render(facts: Facts, prompts: int, on_server: Mapping[str, tuple[int, int]]) -> str:
    """The report, with up to `prompts` of the hardest prompts.

    `on_server` has the complete records and all records of each data set, if the server runs.
    """
    html = (
        environment()
        .get_template("report.html.jinja")
        .render(
            facts=facts,
            made=now(),
            verdict=verdict_text(facts),
            leave_out=_exclusion(facts),
            on_server=on_server,
            agreement=list(agreement_rows(facts)),
            columns=_columns(facts),
            annotators=_annotators(facts),
            hardest=[_shown(one) for one in hardest(facts.rankings, prompts)],
        )
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # UTF-8 cannot encode a lone surrogate


def environment() -> Environment:
    """The templates of this room, which escape all text."""
    made = Environment(
        loader=PackageLoader("labeling.report", "."),
        autoescape=lambda name: name is not None and ".html." in name,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made


def visible(value: Any) -> Any:
    """Text with visible symbols for control characters, which models and files may have; other values unchanged."""
    return value.replace("\r\n", "\n").translate(UNSEEN) if isinstance(value, str) else value


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def verdict_text(facts: Facts) -> str:
    """One sentence on whom not to rely on, or on why that cannot be told."""
    if facts.trust.suspects:
        return sentence(facts.trust.suspects)
    if facts.trust.assessed:
        timed = any("seconds" in about for about in facts.trust.table.values())
        faster = ", or to answer faster than the texts can be read" if timed else ""
        return f"No annotator is shown to be at chance or to rank inversely{faster}."
    return (
        "Whether an annotator is not to be relied on cannot be told yet. That takes "
        f"{MIN_ASSESSED} annotators with {MIN_TASKS} prompts each that others ranked, too, most of whom agree."
    )


def _exclusion(facts: Facts) -> str:
    """The command that leaves the suspects out, or the setting if the project is not known; empty without any."""
    if not facts.trust.suspects:
        return ""
    command = f"python -m pipeline project={facts.project} " if facts.project else ""
    return command + exclusion(facts.trust.suspects)


class Measure(NamedTuple):
    """A measure of agreement with its interval, and its reading."""

    name: str
    value: str
    interval: str
    words: str


def agreement_rows(facts: Facts) -> Iterator[Measure]:
    several = [ranking for ranking in facts.rankings if len(ranking["rankings"]) >= 2]
    judges = sum(len(ranking["rankings"]) for ranking in several) / len(several) if several else None
    named: Mapping[str, tuple[str, Callable[[float], str]]] = {
        "alpha": ("Krippendorff's alpha", lambda value: f"{read_alpha(value)}. 0 is chance, 1 is perfect"),
        "pairwise_agreement": ("Pairwise agreement", read_pairwise),
        "kendall_w": ("Kendall's W", lambda value: read_kendall_w(value, judges)),
    }
    for key, (name, read) in named.items():
        if key in facts.agreement:
            value, low, high = facts.agreement[key]
            yield Measure(name, f"{value:z.2f}", f"{low:z.2f} to {high:z.2f}", read(value))


class Cell(NamedTuple):
    """A value, what stands below it, and the places of a bar's ends and dot, from 0 to 100."""

    value: str = ""
    below: str = ""
    bar: tuple[float, float, float] | None = None


COLUMNS: Mapping[str, tuple[str, str]] = {  # key in the table -> title, meaning
    "submitted": ("Submitted", "answers; below, how many prompts were discarded"),
    "reliability": ("Reliability", "by the others' consensus: 1 is always right, 0 is chance, −1 is always wrong"),
    "against_chance": ("Agreement", "equal orders with other annotators; below, what random answers would have"),
    "consistency": ("Repeats", "equal orders when the same prompt came again, with its answers in other places"),
    "accuracy": ("Gold", "right orders on prompts whose ranks are known"),
    "first": ("First shown", "how often the answer that was shown first is preferred; 0.5 is no bias"),
    "longer": ("Longer", "how often the longer answer is preferred; compare it with the team's"),
    "seconds": ("Seconds", "per prompt, the median; below, the least in which its texts can be read"),
}


def _columns(facts: Facts) -> list[tuple[str, str, str]]:
    """(key, title, meaning) of the measures that are known of some annotator."""
    known = {key for about in facts.trust.table.values() for key in about}
    return [(key, *words) for key, words in COLUMNS.items() if key in known]


class Row(NamedTuple):
    """One annotator: the cells by column, and the reasons not to rely on their answers."""

    name: str
    cells: Mapping[str, Cell]
    reasons: Sequence[str]


def _annotators(facts: Facts) -> list[Row]:
    """The annotators, suspects first."""
    reasons: dict[str, list[Suspect]] = {}
    for one in facts.trust.suspects:
        reasons.setdefault(one.name, []).append(one)
    rows = [
        Row(
            name,
            {key: _cell(key, about[key], about) for key in COLUMNS if key in about},
            [REASONS[one.reason] for one in reasons.get(name, ())],
        )
        for name, about in facts.trust.table.items()
    ]
    return sorted(rows, key=lambda row: (not row.reasons, row.name))


def _cell(key: str, given: Any, about: Mapping[str, Any]) -> Cell:
    match key:
        case "submitted":
            return Cell(f"{given:,}", f"{about['discarded']:,} discarded" if about.get("discarded") else "")
        case "reliability" if given["tasks"] < MIN_TASKS:
            return Cell("—", f"{given['tasks']:,} prompts: too few")
        case "reliability":
            low, high = max(-1.0, given["low"]), min(1.0, given["high"])
            bar = (_place(low), _place(given["value"]), _place(high))
            return Cell(f"{given['value']:z.2f}", f"{low:z.2f} to {high:z.2f}", bar)
        case "against_chance":
            return Cell(f"{given['agreement']:.2f}", f"chance {given['chance']:.2f}")
        case "seconds":
            return Cell(f"{given['value']:.0f}", f"reading {given['reading']:.0f}")
    return Cell(f"{given['share']:.2f}", f"{given['low']:.2f} to {given['high']:.2f}")


def _place(reliability: float) -> float:
    """The place on a bar from 0 (−1) to 100 (1)."""
    return round(50 + 50 * max(-1.0, min(1.0, reliability)), 1)


class Answer(NamedTuple):
    letter: str
    text: str
    mean_rank: str


class Vote(NamedTuple):
    annotator: str
    ranks: Sequence[int]
    remark: str


class Example(NamedTuple):
    """A hard prompt as the page shows it."""

    why: str
    prompt: Sequence[tuple[str, str]]  # (role, text)
    answers: Sequence[Answer]
    votes: Sequence[Vote]


def _shown(one: Hard) -> Example:
    ranking = one.ranking
    turns = ranking["prompt"]
    prompt = [("user", turns)] if isinstance(turns, str) else [(turn["role"], turn["content"]) for turn in turns]
    rows = ranking["rankings"]
    means = [sum(row["ranks"][slot] for row in rows) / len(rows) for slot in range(len(ranking["responses"]))]
    return Example(
        f"{one.agreement:.0%} of {one.comparisons:,} comparisons agree · {len(rows)} annotators · {ranking['id']}",
        prompt,
        [
            Answer(letter_of(slot), text, f"{mean:.1f}")
            for slot, (text, mean) in enumerate(zip(ranking["responses"], means, strict=True))
        ],
        [Vote(row["annotator"], row["ranks"], _remark(ranking, place)) for place, row in enumerate(rows)],
    )


def _remark(ranking: Ranking, place: int) -> str:
    row = ranking["rankings"][place]
    return " · ".join([*(["both are bad"] if row.get("both_bad") else []), *filter(None, [row.get("comment", "")])])


def letter_of(slot: int) -> str:
    """The letter that the page shows for an answer: A, B, C …; a number beyond them."""
    return LETTERS[slot] if slot < len(LETTERS) else str(slot + 1)
