"""A round of asking people: from what `publish` (or `draft`) made to what their answers come to.

In the artifact of `publish` lie `tasks.jsonl` (each ranked by `labeling.overlap` people), `calibration.jsonl` (ranked
by everybody: calibration tasks, their repeats and gold records, which look like all others), `slots.json`,
`checks.json` (which tasks are repeats or gold) and `guidelines.md`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from labeling.backend import AnnotatorAnswer, Progress, Question, Queue, Round
from labeling.guidelines import shipped
from labeling.questions import split_by_size
from labeling.records import Ranking, Ranks, Task
from pipeline.console import counts_text
from pipeline.data.judgements.pooling import preferences_from_rankings
from pipeline.data.rows import read_jsonl
from pipeline.people.annotators import People
from pipeline.store.artifacts import Artifact
from pipeline.store.hashing import content_hash


def read_round(published: Artifact, people: People) -> Round:
    """The round that was published, for the people who are asked now."""
    return round_of(published.path, published.manifest["config"]["question"], people)


def round_of(folder: Path, question: Question, people: People) -> Round:
    """The round in the folder of a version of `publish`; its name on a server is that version."""
    name = f"{people.workspace}-{folder.name[:6]}"
    everybody = Queue(f"{name}-calibration", _tasks(folder / "calibration.jsonl"), len(people.names))
    others = Queue(name, _tasks(folder / "tasks.jsonl"), people.config.overlap)
    queues = [part for queue in (everybody, others) for part in split_by_size(queue)]
    return Round(people.workspace, question, (folder / "guidelines.md").read_text(encoding="utf-8"), queues)


def _tasks(file: Path) -> list[Task]:
    return [Task(id=row["id"], prompt=row["prompt"], responses=row["responses"]) for row in read_jsonl(file)]


def rankings_of(asked: Round, answers: Iterable[AnnotatorAnswer], leave_out: Collection[str] = ()) -> list[Ranking]:
    """The contract's rows, in the order of the tasks: what was submitted, with its comment and the guidelines' version.

    Tasks that nobody has ranked give no row, nor do those to `leave_out` (repeats and gold records).
    """
    guidelines = content_hash(asked.guidelines)
    given: dict[str, list[Ranks]] = defaultdict(list)
    for answer in answers:
        if answer["ranks"] is not None:
            row = Ranks(annotator=answer["annotator"], ranks=answer["ranks"], guidelines=guidelines)
            if answer["comment"]:
                row["comment"] = answer["comment"]
            if answer.get("both_bad"):
                row["both_bad"] = True
            given[answer["task"]].append(row)
    tasks = [task for queue in asked.queues for task in queue.tasks if task["id"] not in leave_out]
    return [
        Ranking(id=task["id"], prompt=task["prompt"], responses=task["responses"], rankings=rows)
        for task in tasks
        if (rows := given.get(task["id"]))
    ]


def complete_only(asked: Round, answers: Sequence[AnnotatorAnswer]) -> list[AnnotatorAnswer]:
    """The answers to those tasks that enough people have answered."""
    given: dict[str, list[AnnotatorAnswer]] = defaultdict(list)
    for answer in answers:
        given[answer["task"]].append(answer)
    needed = {task["id"]: queue.overlap for queue in asked.queues for task in queue.tasks}
    return [answer for answer in answers if len(given[answer["task"]]) >= needed.get(answer["task"], 1)]


def waiting_text(asked: Round, so_far: Progress, project: str) -> str:
    """How far a round is, as in the message of status 3."""
    overlaps = sorted({queue.overlap for queue in asked.queues})
    answers, tasks = ("reviews", "drafts") if asked.question == "review" else ("rankings", "prompts")
    return "\n".join(
        [
            f"Waiting for people · project {project} · exit status 3",
            f"  {so_far.answers:,} of {so_far.wanted:,} {answers} · {so_far.complete:,} of {so_far.tasks:,} {tasks} "
            f"complete · overlap {' and '.join(map(str, overlaps))}",
            "  " + counts_text(so_far.by_annotator),
        ]
    )


def review_round(folder: Path, people: People) -> Round:
    """The drafts in the folder of a version of `draft`, for people to review; its name on a server is that version."""
    tasks = [
        Task(id=row["id"], prompt=row["prompt"], responses=[row["draft"]])
        for row in read_jsonl(folder / "drafts.jsonl")
    ]
    queue = Queue(f"{people.workspace}-drafts-{folder.name[:6]}", tasks, people.config.overlap)
    return Round(people.workspace, "review", shipped("review").read_text(encoding="utf-8"), [queue])


def partial_text(asked: Round, answers: Sequence[AnnotatorAnswer]) -> str:
    """What `collect.accept=partial` would go on with; empty where no prompt is complete."""
    rankings = rankings_of(asked, complete_only(asked, answers))
    pairs = preferences_from_rankings(rankings).counts["pairs"]
    return f"{len(rankings):,} prompts, about {pairs:,} pairs" if pairs else ""
