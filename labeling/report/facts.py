"""The figures of the report and the datasheet, from a project's folder or from a file of rankings."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from labeling.agreement import equal_orders
from labeling.agreement_intervals import agreement_intervals
from labeling.backend import AnnotatorAnswer
from labeling.exchange import read
from labeling.guidelines import version_of
from labeling.intervals import Estimate
from labeling.pace import paces, reading_seconds
from labeling.projects import AnsweredRound, Project
from labeling.quality import Checks
from labeling.records import Ranking, Task
from labeling.rounds import rankings_of
from labeling.trust import Table, Trust, measured, suspects_in, trust

SEED = 0  # of the bootstrap


class Progress(NamedTuple):
    """One round: how many prompts have 0, 1, 2 … answers, and how many answers were discarded."""

    name: str
    question: str
    created: str
    tasks: int
    answers: int
    discarded: int
    by_answers: Mapping[int, int]  # number of answers -> number of prompts
    last: str  # when the last answer was given; empty if that is not known


@dataclass(frozen=True)
class Facts:
    """The figures of the rankings of a project or a file, and of their annotators."""

    name: str
    rankings: Sequence[Ranking]
    trust: Trust  # its table also has what the answers tell (`labeling.trust.measured`)
    agreement: Mapping[str, Estimate]
    progress: Sequence[Progress]
    guidelines: Mapping[str, str]  # version -> text, the oldest first; empty texts where only the version is known
    project: str = ""  # its name; empty for a file
    simulated: bool = False
    remarks: Sequence[str] = ()

    @property
    def judged(self) -> int:
        return sum(len(ranking["rankings"]) for ranking in self.rankings)


def facts_of_project(project: Project) -> Facts:
    """The figures of a project's rankings. Blind tests and reviews of drafts count for the pace and the progress."""
    ranked = [_with_own_ids(one) for one in project.of_kind("publish")]
    rankings = [row for one in ranked for row in _rankings(one)]
    checks: Checks = {
        "repeats": {name: repeat for one in ranked for name, repeat in one.checks["repeats"].items()},
        "gold": {name: ranks for one in ranked for name, ranks in one.checks["gold"].items()},
    }
    everything = [_with_own_ids(one) for one in project.rounds]
    answers = [answer for one in everything for answer in one.answers]
    reading = {task["id"]: reading_seconds(task) for one in everything for task in one.tasks}
    about = measured([answer for one in ranked for answer in one.answers], rankings, checks)
    found = trust(rankings, paces(answers, reading))
    return Facts(
        name=project.name,
        rankings=rankings,
        trust=found._replace(table=_joined(about, found.table)),
        agreement=agreement_intervals(rankings, SEED),
        progress=[_progress(one) for one in project.rounds],
        guidelines={version_of(one.guidelines): one.guidelines for one in ranked},
        project=project.name,
        remarks=project.remarks,
    )


def facts_of_file(file: Path) -> Facts:
    """The figures of rankings in a file; `collect` leaves the figures of its annotators beside its file.

    Raises `LabelingError` (request) as `labeling.exchange.read` does.
    """
    outcome = read(file)
    rankings = outcome.rankings
    about: Table = _beside(file, "annotators.json") or _counted(rankings)
    fast = [one for one in suspects_in(about) if one.reason == "fast"]
    for one in about.values():
        one.pop("suspect", None)  # they are assessed anew
    found = trust(rankings, {}, fast)
    versions = dict.fromkeys(row.get("guidelines", "") for ranking in rankings for row in ranking["rankings"])
    return Facts(
        name=file.name,
        rankings=rankings,
        trust=found._replace(table=_joined(about, found.table)),
        agreement=agreement_intervals(rankings, SEED),
        progress=[_row(file.name, "", "", Counter(len(one["rankings"]) for one in rankings))],
        guidelines=dict.fromkeys((version for version in versions if version), ""),
        simulated=bool(_beside(file, "manifest.json").get("metrics", {}).get("simulated")),
        remarks=outcome.remarks,
    )


def _with_own_ids(one: AnsweredRound) -> AnsweredRound:
    """The round with ids of tasks that no other round has: `ROUND/TASK`."""

    def own(task: str) -> str:
        return f"{one.name}/{task}"

    return replace(
        one,
        tasks=[cast(Task, {**task, "id": own(task["id"])}) for task in one.tasks],
        answers=[cast(AnnotatorAnswer, {**answer, "task": own(answer["task"])}) for answer in one.answers],
        checks={
            "repeats": {
                own(name): {**repeat, "task": own(repeat["task"])} for name, repeat in one.checks["repeats"].items()
            },
            "gold": {own(name): ranks for name, ranks in one.checks["gold"].items()},
        },
    )


def _rankings(one: AnsweredRound) -> list[Ranking]:
    """The rankings of a round, without repeats and gold."""
    leave_out = {*one.checks["repeats"], *one.checks["gold"]}
    return rankings_of(one.tasks, one.answers, version_of(one.guidelines), leave_out)


def _progress(one: AnsweredRound) -> Progress:
    given = Counter(answer["task"] for answer in one.answers)
    by_answers = Counter(given[task["id"]] for task in one.tasks)
    discarded = sum(answer["status"] == "discarded" for answer in one.answers)
    last = max((answer.get("answered", "") for answer in one.answers), default="")
    return _row(one.name, one.question, one.created, by_answers, discarded, last)


def _row(
    name: str, question: str, created: str, by_answers: Mapping[int, int], discarded: int = 0, last: str = ""
) -> Progress:
    tasks, answers = sum(by_answers.values()), sum(count * tasks for count, tasks in by_answers.items())
    return Progress(name, question, created, tasks, answers, discarded, dict(sorted(by_answers.items())), last)


def _counted(rankings: Iterable[Ranking]) -> Table:
    """Each annotator's number of rankings, where nothing else is known."""
    judged = Counter(row["annotator"] for ranking in rankings for row in ranking["rankings"])
    return {name: {"submitted": count} for name, count in judged.items()}


def _joined(*tables: Table) -> Table:
    names = sorted({name for table in tables for name in table})
    return {name: {key: value for table in tables for key, value in table.get(name, {}).items()} for name in names}


def _beside(file: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file beside this one; empty without it."""
    try:
        found = json.loads(file.with_name(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Hard(NamedTuple):
    """A prompt on which annotators disagree: the share of equal orders, of so many comparisons."""

    agreement: float
    comparisons: int
    ranking: Ranking


def hardest(rankings: Iterable[Ranking], count: int) -> list[Hard]:
    """The prompts with the lowest agreement; of equal ones, those with more comparisons first.

    Agreement is the share of equal orders of two annotators, over the pairs of responses. Prompts on which all agree
    are left out.
    """
    found = []
    for ranking in rankings:
        same, total = equal_orders(ranking)
        if same < total:
            found.append(Hard(same / total, total, ranking))
    return sorted(found, key=lambda one: (one.agreement, -one.comparisons, one.ranking["id"]))[:count]
