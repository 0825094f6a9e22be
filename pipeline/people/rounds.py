"""A round of tasks for people, from the artifact of `publish` (or `draft`) to rankings.

The artifact of `publish` contains `tasks.jsonl` (each task ranked by `labeling.overlap` people), `calibration.jsonl`
(ranked by every annotator: calibration tasks, their repeats and gold records, which look like all other tasks),
`slots.json`, `checks.json` (lists the repeats and gold records) and `guidelines.md`.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from labeling import rounds
from labeling.backend import AnnotatorAnswer, Progress, Question, Queue, Round, answers_needed
from labeling.guidelines import shipped, version_of
from labeling.overlap import Overlap, overlap_of
from labeling.questions import split_by_size
from labeling.records import Ranking, Task
from pipeline.console import counts_text
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.rows import read_jsonl
from pipeline.people.annotators import People
from pipeline.store.artifact import Artifact


def read_round(published: Artifact, people: People) -> Round:
    """Return the published round, for the current annotators."""
    return round_of(published.path, published.manifest["config"]["question"], people)


def round_of(folder: Path, question: Question, people: People) -> Round:
    """Return the round in the folder of a `publish` version. Its name on a server contains that version."""
    name = f"{people.workspace}-{folder.name[:6]}"
    everybody = Queue(f"{name}-calibration", _tasks(folder / "calibration.jsonl"), len(people.names))
    others = Queue(name, _tasks(folder / "tasks.jsonl"), *overlap_of(people.config.overlap))
    queues = [part for queue in (everybody, others) for part in split_by_size(queue)]
    return Round(people.workspace, question, (folder / "guidelines.md").read_text(encoding="utf-8"), queues)


def _tasks(file: Path) -> list[Task]:
    return [Task(id=row["id"], prompt=row["prompt"], responses=row["responses"]) for row in read_jsonl(file)]


def rankings_of(asked: Round, answers: Iterable[AnnotatorAnswer], leave_out: Collection[str] = ()) -> list[Ranking]:
    """Return the rankings of a round, see `labeling.rounds.rankings_of`."""
    tasks = [task for queue in asked.queues for task in queue.tasks]
    return rounds.rankings_of(tasks, answers, version_of(asked.guidelines), leave_out)


def complete_only(asked: Round, answers: Sequence[AnnotatorAnswer]) -> list[AnnotatorAnswer]:
    """Return the answers to tasks with as many as their queue needs, see `labeling.rounds.complete_only`."""
    return rounds.complete_only(answers, answers_needed(asked, answers))


def waiting_text(asked: Round, so_far: Progress, project: str) -> str:
    """Return the progress of a round, as in the message for exit status 3."""
    overlaps = sorted({Overlap(queue.overlap, queue.most) for queue in asked.queues}, key=str)
    counted = {"review": ("reviews", "drafts"), "pairwise": ("judgements", "pairs of answers")}
    answers, tasks = counted.get(asked.question, ("rankings", "prompts"))
    return "\n".join(
        [
            f"Waiting for people · project {project} · exit status 3",
            f"  {so_far.answers:,} of {so_far.wanted:,} {answers} · {so_far.complete:,} of {so_far.tasks:,} {tasks} "
            f"complete · overlap {' and '.join(map(str, overlaps))}",
            "  " + counts_text(so_far.by_annotator),
        ]
    )


def review_round(folder: Path, people: People) -> Round:
    """Return the round that reviews the drafts of a `draft` version. Its name on a server contains that version."""
    tasks = [
        Task(id=row["id"], prompt=row["prompt"], responses=[row["draft"]])
        for row in read_jsonl(folder / "drafts.jsonl")
    ]
    queue = Queue(f"{people.workspace}-drafts-{folder.name[:6]}", tasks, overlap_of(people.config.overlap).least)
    return Round(people.workspace, "review", shipped("review").read_text(encoding="utf-8"), [queue])


def blind_round(blind: Artifact, overlap: int, people: People) -> Round:
    """Return the round of a `blind` version.

    All tests of one evaluation share a dataset, and a pair of answers has one id in all of them. So nobody is asked
    twice about it when prompts or policies are added.
    """
    evaluation = blind.manifest["inputs"]["evaluation"]["version"]
    queue = Queue(f"{people.workspace}-abtest-{evaluation[:6]}", _tasks(blind.file("tasks.jsonl")), overlap)
    return Round(people.workspace, "pairwise", blind.file("guidelines.md").read_text(encoding="utf-8"), [queue])


def partial_text(asked: Round, answers: Sequence[AnnotatorAnswer]) -> str:
    """Return what `collect.accept=partial` would use, such as "12 prompts, about 40 pairs"; empty without a pair."""
    rankings = rankings_of(asked, complete_only(asked, answers))
    pairs = preferences_from_rankings(rankings).counts["pairs"]
    return f"{len(rankings):,} prompts, about {pairs:,} pairs" if pairs else ""
