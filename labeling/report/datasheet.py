"""The datasheet of a project's rankings: who, how many, by which guidelines, how far they agree, and known limits.

HTML or Markdown, with a paragraph and a LaTeX table for a paper. After Gebru et al., "Datasheets for Datasets" (2021).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from labeling.markdown import markdown_text
from labeling.records import compare
from labeling.report.facts import Facts
from labeling.report.page import Measure, agreement_rows, environment, now
from labeling.suspects import REASONS
from labeling.votes import is_unnamed

FORMS = {".html": "datasheet.html.jinja", ".htm": "datasheet.html.jinja", ".md": "datasheet.md.jinja"}
_LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}


class Contents(NamedTuple):
    """The counts of a datasheet. Pairs are those of two responses to a prompt, with each annotator's order of them."""

    prompts: int
    responses: int
    rankings: int
    annotators: int
    unnamed: int  # rankings without an annotator
    per_prompt: Mapping[int, int]  # annotators -> prompts
    orders: int
    ties: int
    both_bad: int
    comments: int


def contents(facts: Facts) -> Contents:
    rows = [(ranking, row) for ranking in facts.rankings for row in ranking["rankings"]]
    orders = [compare(row["ranks"], *pair) for ranking, row in rows for pair in _pairs(len(ranking["responses"]))]
    names = {row["annotator"] for _, row in rows if not is_unnamed(row["annotator"])}
    return Contents(
        prompts=len(facts.rankings),
        responses=sum(len(ranking["responses"]) for ranking in facts.rankings),
        rankings=len(rows),
        annotators=len(names),
        unnamed=sum(is_unnamed(row["annotator"]) for _, row in rows),
        per_prompt=dict(sorted(Counter(len(ranking["rankings"]) for ranking in facts.rankings).items())),
        orders=len(orders),
        ties=orders.count(0),
        both_bad=sum(row.get("both_bad", False) for _, row in rows),
        comments=sum(bool(row.get("comment")) for _, row in rows),
    )


def _pairs(size: int) -> Iterator[tuple[int, int]]:
    return combinations(range(size), 2)


def render(facts: Facts, suffix: str) -> str:
    """The datasheet in the form that a file name's suffix (a key of `FORMS`) stands for."""
    counted, agreement = contents(facts), list(agreement_rows(facts))
    template = environment().get_template(FORMS[suffix])
    text = template.render(
        facts=facts,
        made=now(),
        counted=counted,
        who=list(who(facts)),
        counts=list(counts(counted)),
        agreement=agreement,
        per_annotator=per_annotator(facts),
        guidelines=list(_guidelines(facts)),
        limits=list(limits(facts, counted)),
        methods=methods(facts, counted, agreement),
        latex=latex(facts, counted, agreement),
        md=markdown_text,
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def who(facts: Facts) -> Iterator[str]:
    """Sentences about the annotators, and what the lead has to add."""
    counted = contents(facts)
    if facts.simulated:
        yield "The annotators are simulated: a program with a known error ranked the responses, no person did."
    elif counted.annotators:
        yield f"{_number(counted.annotators, 'annotator')}, under pseudonyms: {', '.join(sorted(_names(facts)))}."
    if counted.unnamed:
        yield f"{_number(counted.unnamed, 'ranking')} without an annotator's name."
    if not facts.simulated:
        yield "To be added by hand, since no file has it: how they were found, trained and paid; languages; consent."


def counts(counted: Contents) -> Iterator[tuple[str, str]]:
    """(what, how many)."""
    yield "Prompts", f"{counted.prompts:,}"
    yield "Responses", f"{counted.responses:,}"
    yield "Rankings", f"{counted.rankings:,}"
    per = ", ".join(f"{prompts:,} by {annotators}" for annotators, prompts in counted.per_prompt.items())
    yield "Prompts by number of annotators", per
    yield "Ties", f"{counted.ties:,} of {counted.orders:,} ordered pairs ({_share(counted.ties, counted.orders)})"
    if counted.both_bad:
        yield "Both responses bad", f"{counted.both_bad:,} of {counted.rankings:,} rankings"
    yield "Comments", f"{counted.comments:,}"


class AnnotatorRow(NamedTuple):
    name: str
    rankings: str
    reliability: str
    repeats: str
    gold: str
    remark: str


def per_annotator(facts: Facts) -> list[AnnotatorRow]:
    """One row for each annotator; `—` where a measure is not known."""
    given = Counter(row["annotator"] for ranking in facts.rankings for row in ranking["rankings"])
    reasons = {one.name: REASONS[one.reason] for one in facts.trust.suspects}
    rows = []
    for name, about in facts.trust.table.items():
        trusted = about.get("reliability")
        repeats, gold = (f"{about[key]['share']:.2f}" if key in about else "—" for key in ("consistency", "accuracy"))
        reliability = "—"
        if trusted and facts.trust.assessed:
            reliability = f"{trusted['value']:z.2f} ± {trusted['high'] - trusted['value']:.2f}"
        rows.append(AnnotatorRow(name, f"{given[name]:,}", reliability, repeats, gold, reasons.get(name, "")))
    return rows


def _guidelines(facts: Facts) -> Iterator[tuple[str, str, int]]:
    """(version, text, number of rankings by it); the text is empty where only the version is known."""
    used = Counter(row.get("guidelines", "") for ranking in facts.rankings for row in ranking["rankings"])
    for version, text in facts.guidelines.items():
        yield version, text, used[version]


def limits(facts: Facts, counted: Contents) -> Iterator[str]:
    """Sentences about what the rankings cannot tell."""
    if facts.simulated:
        yield "Simulated annotators say nothing about people's preferences."
    alone = counted.per_prompt.get(1, 0)
    if alone:
        share = _share(alone, counted.prompts)
        yield f"{_number(alone, 'prompt')} ({share}) were ranked by one annotator: their noise cannot be measured."
    if not facts.agreement:
        yield "No prompt was ranked by two annotators, so their agreement is not known."
    if not facts.trust.assessed:
        yield "Whether an annotator is at chance or ranks inversely could not be assessed: too few shared prompts."
    for one in facts.trust.suspects:
        yield f"{one.name} {REASONS[one.reason]} ({one.says}). Their rankings are in these figures."
    if facts.trust.table and not any("accuracy" in about for about in facts.trust.table.values()):
        yield "There were no prompts with known ranks (gold)."
    if not any("consistency" in about for about in facts.trust.table.values()):
        yield "Annotators' consistency was not measured (no repeats)."
    if len(facts.guidelines) > 1:
        yield f"The guidelines changed: there are {len(facts.guidelines)} versions, and agreement is over all of them."
    yield (
        "Intervals are about other prompts of the same kind, not about other annotators. Reliability is measured "
        "against the consensus of the others, who may err alike."
    )


def methods(facts: Facts, counted: Contents, agreement: Sequence[Measure]) -> str:
    """A paragraph for the methods section of a paper, from these figures alone."""
    several = sum(prompts for annotators, prompts in counted.per_prompt.items() if annotators >= 2)
    people = "simulated annotators (a program)" if facts.simulated else "annotators"
    told = [
        f"We collected {counted.rankings:,} rankings of the responses to {counted.prompts:,} prompts "
        f"({counted.responses:,} responses) from {counted.annotators:,} {people}; {several:,} prompts were ranked by "
        "two or more of them.",
        "Annotators did not know which system wrote a response." if facts.project else "",
        f"Ties were allowed and make up {_share(counted.ties, counted.orders)} of the ordered pairs.",
    ]
    named = {row.name: row for row in agreement}
    found = [
        f"{name} {named[key].value} (95% interval {named[key].interval})"
        for key, name in (
            ("Krippendorff's alpha", f"Krippendorff's alpha ({_metric(facts)})"),
            ("Pairwise agreement", "raw pairwise agreement"),
            ("Kendall's W", "Kendall's W, averaged over prompts,"),
        )
        if key in named
    ]
    if found:
        resampled = "intervals are percentile bootstraps over prompts"
        told.append(f"Agreement: {', '.join(found)}; {resampled}.")
    if facts.trust.suspects:
        names = len({one.name for one in facts.trust.suspects})
        told.append(f"{_number(names, 'annotator')} did not meet the criteria of reliability.")
    return " ".join(filter(None, told))


def latex(facts: Facts, counted: Contents, agreement: Sequence[Measure]) -> str:
    """A table for LaTeX with the package booktabs."""
    rows = [*counts(counted), *((row.name, f"{row.value} [{row.interval}]") for row in agreement)]
    rows.insert(3, ("Annotators", f"{counted.annotators:,}{' (simulated)' if facts.simulated else ''}"))
    caption = f"Human rankings: {facts.name}." if not facts.simulated else f"Simulated rankings: {facts.name}."
    lines = [r"\begin{table}", r"\centering", r"\begin{tabular}{ll}", r"\toprule"]
    lines += [f"{latex_text(name)} & {latex_text(value)} \\\\" for name, value in rows]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex_text(caption)}}}", r"\end{table}"]
    return "\n".join(lines)


def latex_text(text: str) -> str:
    """Text without the meaning that LaTeX gives to some characters."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _metric(facts: Facts) -> str:
    """The metric of alpha, as `labeling.agreement.ranking_alpha` chooses it."""
    return "nominal" if all(len(ranking["responses"]) == 2 for ranking in facts.rankings) else "ordinal"


def _names(facts: Facts) -> set[str]:
    names = {row["annotator"] for ranking in facts.rankings for row in ranking["rankings"]}
    return {name for name in names if not is_unnamed(name)}


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"
