"""What annotators did in a project: its rounds of tasks, and the copies of people's answers beside them.

A project's folder has a folder for each version of a stage (`publish`, `draft`, `blind`) with the tasks, and
`.answers/QUEUE.jsonl` with the answers (`labeling.server.snapshots`). A queue is named after the version, so both are
found without a server. A round has the answers that count (`labeling.server.copied.counts`), as for `collect`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labeling.argilla.answers import answer_of
from labeling.argilla.page import checksum
from labeling.backend import AnnotatorAnswer, LabelingError, Question
from labeling.backends import COPIES
from labeling.quality import Checks
from labeling.records import Task
from labeling.server import snapshots
from labeling.server.copied import COUNTED, Copy, counts, summary

Kind = Literal["publish", "draft", "blind"]  # the stage that made the tasks

_QUEUE = re.compile(
    r".+?-(?P<kind>drafts-|abtest-)?(?P<version>[0-9a-f]{6})(?:-calibration|-adjudication)?(?:-of-\d+)?"
)
_KINDS: Mapping[str | None, Kind] = {None: "publish", "drafts-": "draft", "abtest-": "blind"}


@dataclass(frozen=True)
class AnsweredRound:
    """One publication of tasks, and all submitted and discarded answers to it.

    `everybody` has the ids of the tasks that every annotator gets: calibration, repeats and gold. `queues` are those
    with answers, `folders` those of the versions with the tasks: several for a blind test that has grown.
    """

    name: str
    kind: Kind
    question: Question
    tasks: Sequence[Task]
    everybody: frozenset[str]
    answers: Sequence[AnnotatorAnswer]
    checks: Checks
    guidelines: str
    created: str  # ISO 8601
    queues: Sequence[str]
    folders: Sequence[Path]


@dataclass(frozen=True)
class Project:
    """The answered rounds of one project, the oldest first, and remarks on answers that are in none of them."""

    name: str
    rounds: Sequence[AnsweredRound]
    remarks: Sequence[str]

    def of_kind(self, kind: Kind) -> list[AnsweredRound]:
        return [one for one in self.rounds if one.kind == kind]


def is_project(folder: Path) -> bool:
    """Whether the folder has copies of people's answers."""
    return (folder / COPIES).is_dir()


def is_blind_test(queue: str) -> bool:
    """Whether a queue is one of a blind A/B test, by its name."""
    found = _QUEUE.fullmatch(queue)
    return found is not None and _KINDS[found["kind"]] == "blind"


def read_project(folder: Path) -> Project:
    """Read a project's folder. Raises `LabelingError` (request) for a damaged file."""
    copies: dict[tuple[Kind, str], dict[str, list[Copy]]] = {}
    remarks = []
    for queue in snapshots.queues(folder / COPIES):
        found = _QUEUE.fullmatch(queue)
        own = snapshots.read(folder / COPIES, queue)
        if found:
            about = copies.setdefault((_KINDS[found["kind"]], found["version"]), {})
            about[queue] = [copy for copy in own if counts(copy)]
            if gone := [copy for copy in own if copy.get("gone") and copy["status"] in COUNTED]:
                remarks.append(f"{summary(gone)} do not count: '{queue}' on the server has them no more.")
        elif own:
            remarks.append(f"{summary(own)} are left out: '{queue}' is no queue of this project.")
    rounds = []
    for (kind, version), by_queue in copies.items():
        given = [copy for own in by_queue.values() for copy in own]
        asked = _read_round(folder, kind, version, given, list(by_queue))
        if asked is None:
            remarks.append(f"{summary(given)} are left out: the tasks of {kind} {version} are gone from {folder}.")
            continue
        rounds.append(asked)
        known = {(answer["task"], answer["annotator"]) for answer in asked.answers}
        if others := [copy for copy in given if (copy["task"], copy["annotator"]) not in known]:
            remarks.append(f"{summary(others)} are left out: {asked.name} has other texts than those they are about.")
    return Project(folder.name, sorted(rounds, key=lambda one: (one.created, one.name)), remarks)


def _read_round(
    folder: Path, kind: Kind, version: str, copies: Sequence[Copy], queues: Sequence[str]
) -> AnsweredRound | None:
    """Return the round that the queues' version names; None if its folder is gone."""
    folders = sorted(_folders(folder, kind, version), key=lambda path: str(_manifest(path).get("created")))
    if not folders:
        return None
    newest = folders[-1]
    tasks = list({task["id"]: task for path in folders for task in _tasks(path, kind)}.values())
    fixed: Mapping[Kind, Question] = {"draft": "review", "blind": "pairwise"}
    question: Question = fixed.get(kind) or _manifest(newest)["config"]["question"]
    by_id = {task["id"]: task for task in tasks}
    answers = [
        answer_of(question, by_id[copy["task"]], {**copy, "inserted_at": copy["inserted"]}, copy["annotator"])
        for copy in _about(copies, tasks)
    ]
    everybody, checks, guidelines = newest / "calibration.jsonl", newest / "checks.json", newest / "guidelines.md"
    return AnsweredRound(
        name=f"{kind} {newest.name[:6]}",
        kind=kind,
        question=question,
        tasks=tasks,
        everybody=frozenset(row["id"] for row in read_rows(everybody)) if everybody.exists() else frozenset(),
        answers=sorted(answers, key=lambda answer: (answer["task"], answer["annotator"])),
        checks=read_json(checks) if checks.exists() else {"repeats": {}, "gold": {}},
        guidelines=_text(guidelines) if guidelines.exists() else "",
        created=str(_manifest(newest).get("created", "")),
        queues=queues,
        folders=folders,
    )


def _folders(folder: Path, kind: Kind, version: str) -> Iterator[Path]:
    """Yield the finished versions: of a blind test, all versions about the evaluation that the queue is named after."""
    for path in sorted((folder / kind).glob("*/manifest.json")):
        about = _manifest(path.parent)["inputs"]["evaluation"]["version"] if kind == "blind" else path.parent.name
        if str(about).startswith(version):
            yield path.parent


def _tasks(folder: Path, kind: Kind) -> Iterator[Task]:
    files = {"publish": ("calibration.jsonl", "tasks.jsonl"), "draft": ("drafts.jsonl",), "blind": ("tasks.jsonl",)}
    for name in files[kind]:
        for row in read_rows(folder / name):
            responses = [row["draft"]] if kind == "draft" else row["responses"]
            yield Task(id=row["id"], prompt=row["prompt"], responses=responses)


def _about(copies: Iterable[Copy], tasks: Iterable[Task]) -> list[Copy]:
    """The answers to these tasks as they are."""
    known = {task["id"]: checksum(task) for task in tasks}
    return [copy for copy in copies if known.get(copy["task"]) == copy["checksum"]]


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(folder / "manifest.json")
    return found


def read_rows(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in _text(file).split("\n") if line]
    except ValueError:
        raise LabelingError(f"{file}: not valid JSON lines. The file is damaged.", "request") from None


def read_json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError:
        raise LabelingError(f"{file}: not valid JSON. The file is damaged.", "request") from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelingError(f"{file} cannot be read: {error}", "request") from None
