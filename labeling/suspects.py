"""Names annotators not to rely on: at chance, on a reversed scale, or faster than the texts can be read.

Pure functions. An annotator is compared with the consensus of the others, in which each counts by their reliability
(`labeling.reliability`); the annotator's own votes are left out of it. The error rate: where all annotators are at
least two thirds as reliable as the median of their team and answer no faster than the texts can be read, someone is
named in at most `ERROR_RATE` of such teams, however many annotators they have (Bonferroni's correction).
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from statistics import NormalDist, median
from typing import Literal, NamedTuple

import numpy as np

from labeling.pace import Pace
from labeling.records import Ranking
from labeling.reliability import Floats, Ints, log_odds_of, reliabilities, sigmoid, votes_on_pairs, weights_of
from labeling.votes import UNNAMED

ERROR_RATE = 0.05  # of naming anyone in a team without a suspect
MIN_TASKS = 20  # shared with others; with fewer, an annotator is not assessed
MIN_ASSESSED = 3  # of two who disagree, either may be right
MAX_SHARE_OF_MEDIAN = 2 / 3  # of the median reliability; a suspect at chance is shown to be below
AS_GOOD_AS_CHANCE = 0.1  # of the median reliability; a suspect at chance is not shown to be above

SHOWN = 5  # most suspects with their figures in one sentence

Reason = Literal["chance", "inverse", "fast"]

REASONS: Mapping[Reason, str] = {
    "chance": "is not distinguishable from chance",
    "inverse": "ranks inversely",
    "fast": "answers faster than the texts can be read",
}


class Standing(NamedTuple):
    """One annotator beside the others' consensus.

    `reliability` is 1 for an annotator who is always right, 0 at chance, and -1 for one who is always wrong; ties count
    as 0. `error` is its standard error; `tasks` are the independent observations.
    """

    reliability: float
    error: float
    tasks: int


class Suspect(NamedTuple):
    """An annotator not to rely on, the reason, and the figures in words."""

    name: str
    reason: Reason
    says: str


def standings(rankings: Sequence[Ranking]) -> dict[str, Standing]:
    """Annotator -> standing, sorted by name; without unnamed votes and annotators who share no task with others.

    Let c be the others' belief in the first response, from -1 to 1, and s the annotator's vote, -1, 0 or 1. If c is
    calibrated and the annotator is right with probability (1 + r) / 2, then E[s c] = r E[c^2]: r is the slope of s on c
    through the origin. Its standard error comes from the residuals, summed by task.
    """
    votes, owners = votes_on_pairs(rankings)
    if not len(votes.pairs):
        return {}
    right = reliabilities(votes)
    others = log_odds_of(votes, right)[votes.pairs] - weights_of(right)[votes.annotators] * votes.signs
    believed: Floats = 2 * sigmoid(others) - 1
    shared = np.bincount(votes.pairs)[votes.pairs] > 1
    found = {}
    for place, name in enumerate(votes.names):
        own = shared & (votes.annotators == place)
        if name != UNNAMED and believed[own].any():
            found[name] = _standing(votes.signs[own], believed[own], owners[votes.pairs[own]])
    return found


def _standing(signs: Floats, believed: Floats, tasks: Ints) -> Standing:
    """The slope of the annotator's votes [votes] on the others' belief [votes]; the votes of one task go together."""
    _, places = np.unique(tasks, return_inverse=True)
    gained, possible = np.bincount(places, signs * believed), np.bincount(places, believed**2)
    count, total = len(gained), float(possible.sum())
    slope = float(gained.sum() / total)
    spread = float(np.square(gained - slope * possible).sum()) * count / max(count - 1, 1)
    return Standing(slope, spread**0.5 / total, count)


def suspects(known: Mapping[str, Standing], paces: Mapping[str, Pace]) -> list[Suspect]:
    """The annotators to name, those by agreement first, each sorted by name."""
    return [*_by_agreement(known), *_by_pace(paces)]


def can_assess(known: Mapping[str, Standing]) -> bool:
    """Whether annotators at chance or on a reversed scale can be told from the others.

    That takes enough annotators with enough tasks, at least half of whom are shown to agree with the consensus, and
    more than are shown to reverse it.
    """
    assessed = _assessed(known)
    z = critical_value(len(assessed))
    agreeing = sum(one.reliability > z * one.error for one in assessed.values())
    reversing = sum(one.reliability < -z * one.error for one in assessed.values())
    return len(assessed) >= MIN_ASSESSED and agreeing >= len(assessed) / 2 and agreeing > reversing


def _assessed(known: Mapping[str, Standing]) -> dict[str, Standing]:
    return {name: one for name, one in known.items() if one.tasks >= MIN_TASKS}


def _by_agreement(known: Mapping[str, Standing]) -> list[Suspect]:
    """Annotators at chance or on a reversed scale; empty if that cannot be assessed.

    At chance: not shown to be above a tenth of the median, and shown to be below two thirds of it; the second condition
    alone keeps the error rate. Inverse: shown to be below 0.
    """
    if not can_assess(known):
        return []
    assessed = _assessed(known)
    z = critical_value(len(assessed))
    typical = median(one.reliability for one in assessed.values())
    by_chance, found = AS_GOOD_AS_CHANCE * typical, []
    for name, one in assessed.items():
        low, high = one.reliability - z * one.error, one.reliability + z * one.error
        figures = f"reliability {one.reliability:z.2f} [{low:z.2f}, {high:z.2f}] over {one.tasks:,} tasks"
        if high < 0:
            found.append(Suspect(name, "inverse", f"{figures}, median {typical:.2f}"))
        elif low <= by_chance and high < MAX_SHARE_OF_MEDIAN * typical:
            least = f"; up to {by_chance:.2f} is as good as chance" if low > 0 else ""
            found.append(Suspect(name, "chance", f"{figures}, median {typical:.2f}{least}"))
    return found


def _by_pace(paces: Mapping[str, Pace]) -> list[Suspect]:
    """Annotators with more than half of their answers shown to come faster than the texts can be read."""
    z = critical_value(len(paces))
    return [Suspect(name, "fast", one.says()) for name, one in paces.items() if one.is_too_fast(z)]


def critical_value(annotators: int) -> float:
    """Standard errors for one annotator of a team: Bonferroni's, over annotators and the two kinds of suspects."""
    return NormalDist().inv_cdf(1 - ERROR_RATE / (2 * max(annotators, 1)))


def sentence(found: Sequence[Suspect]) -> str:
    """The suspects, one or more, with the reasons and figures."""
    names = sorted({one.name for one in found})
    shown = "; ".join(f"{one.name} {REASONS[one.reason]} ({one.says})" for one in found[:SHOWN])
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    count = "1 annotator is" if len(names) == 1 else f"{len(names)} annotators are"
    return f"{count} not to be relied on: {shown}{more}."


def exclusion(found: Sequence[Suspect]) -> str:
    """The setting that leaves the suspects out, quoted for a shell."""
    names = sorted({one.name for one in found})
    return shlex.quote(f"preferences.exclude={json.dumps(names, ensure_ascii=False)}")
