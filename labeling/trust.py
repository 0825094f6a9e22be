"""The measures of each annotator, in one table, and who is not to be relied on. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from labeling.backend import AnnotatorAnswer
from labeling.biases import prefers_first, prefers_longer
from labeling.chance import AgainstChance, against_chance
from labeling.intervals import Estimate, Z
from labeling.pace import Pace
from labeling.quality import AnnotatorQuality, Checks, Share, annotator_quality
from labeling.records import Ranking
from labeling.suspects import Standing, Suspect, can_assess, standings, suspects

Table = dict[str, dict[str, Any]]
"""Annotator -> measures as JSON, each with its 95% interval (`low`, `high`)."""


class Trust(NamedTuple):
    """The table of annotators, those to name, and whether those at chance can be told from the others at all."""

    table: Table
    suspects: list[Suspect]
    assessed: bool


def trust(rankings: Sequence[Ranking], paces: Mapping[str, Pace], known: Sequence[Suspect] = ()) -> Trust:
    """The measures that follow from rankings and times, sorted by name; `known` are suspects found before.

    `reliability` (`labeling.suspects`), `first` and `longer` (`labeling.biases`), `seconds` (`labeling.pace`), and
    `suspect`, the reasons to name this annotator.
    """
    standing = standings(rankings)
    found = [*suspects(standing, paces), *known]
    parts: Sequence[tuple[str, Mapping[str, dict[str, Any]]]] = (
        ("reliability", {name: _standing(one) for name, one in standing.items()}),
        ("first", {name: share_with_interval(one) for name, one in prefers_first(rankings).items()}),
        ("longer", {name: share_with_interval(one) for name, one in prefers_longer(rankings).items()}),
        ("seconds", {name: _pace(one) for name, one in paces.items()}),
    )
    names = sorted({name for _, part in parts for name in part} | {one.name for one in found})
    table: Table = {name: {key: part[name] for key, part in parts if name in part} for name in names}
    for one in found:
        table[one.name].setdefault("suspect", []).append({"reason": one.reason, "says": one.says})
    return Trust(table, found, can_assess(standing))


def measured(answers: Sequence[AnnotatorAnswer], rankings: Sequence[Ranking], checks: Checks) -> Table:
    """What the answers to a round tell about each annotator; `rankings` are those without the checks.

    `submitted` and `discarded`, `consistency` on repeats, `accuracy` on gold, `agreement` with the others' majority,
    and `against_chance` (`labeling.chance`); measures without a comparison are left out.
    """
    about = {name: _quality(one) for name, one in annotator_quality(answers, rankings, checks).items()}
    for name, one in against_chance(rankings).items():
        about[name]["against_chance"] = chance_with_interval(one)
    return about


def _quality(one: AnnotatorQuality) -> dict[str, Any]:
    shares = {"consistency": one.consistency, "accuracy": one.accuracy}
    found = {name: share_with_interval(share) for name, share in shares.items() if share.comparisons}
    share, comparisons, _ = one.agreement
    agreed = {"agreement": {"share": share, "comparisons": comparisons}} if comparisons else {}
    return {"submitted": one.submitted, "discarded": one.discarded, **found, **agreed}


def suspects_in(table: Mapping[str, Mapping[str, Any]]) -> list[Suspect]:
    """The suspects that a table names, sorted by name."""
    return [Suspect(name, **one) for name, about in sorted(table.items()) for one in about.get("suspect", ())]


def share_with_interval(share: Share) -> dict[str, Any]:
    """A share as JSON."""
    _, low, high = share.interval()
    return {**share._asdict(), "low": low, "high": high}


def chance_with_interval(one: AgainstChance) -> dict[str, Any]:
    """The agreement with the others and its chance as JSON; the interval is that of the agreement."""
    return {**one._asdict(), **_around(one.agreement, Z * one.error)}


def _standing(one: Standing) -> dict[str, Any]:
    return {"value": one.reliability, **_around(one.reliability, Z * one.error), "tasks": one.tasks}


def _pace(one: Pace) -> dict[str, Any]:
    seconds: Estimate = one.seconds
    return {**seconds._asdict(), "reading": one.reading, "too_fast": one.too_fast, "timed": one.timed}


def _around(value: float, half: float) -> dict[str, float]:
    return {"low": value - half, "high": value + half}
