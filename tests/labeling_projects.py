"""Projects on disk for tests: rounds of tasks with copies of people's answers, as `publish` and a server leave them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from labeling.argilla.page import checksum
from labeling.backend import Question
from labeling.questions import raw_values
from labeling.records import Task
from labeling.server.snapshots import keep

START = datetime(2026, 11, 2, 9)
VERSION = "abc123def456"


def task(name: str, prompt: str, responses: Sequence[str]) -> Task:
    return {"id": name, "prompt": [{"role": "user", "content": prompt}], "responses": list(responses)}


def write_round(
    project: Path,
    tasks: Sequence[Task],
    given: Mapping[str, Mapping[str, Sequence[int]]],
    *,
    version: str = VERSION,
    question: Question = "ranking",
    everybody: Sequence[Task] = (),
    checks: Mapping[str, Any] = {},
    created: str = "2026-11-01T08:00:00+00:00",
    seconds: float = 60.0,
    comments: Mapping[str, str] = {},
    start: datetime = START,
) -> None:
    """Write a version of `publish`, and each annotator's ranks by task, `seconds` apart, as submitted answers."""
    write_tasks(project, tasks, version=version, question=question, everybody=everybody, checks=checks, created=created)
    for queue, asked in ((f"team-{version[:6]}", tasks), (f"team-{version[:6]}-calibration", everybody)):
        keep(project / ".answers", queue, _copies(asked, given, question, seconds, comments, start))


def write_tasks(
    project: Path,
    tasks: Sequence[Task],
    *,
    version: str = VERSION,
    question: Question = "ranking",
    everybody: Sequence[Task] = (),
    checks: Mapping[str, Any] = {},
    created: str = "2026-11-01T08:00:00+00:00",
) -> None:
    """Write a version of `publish`."""
    folder = project / "publish" / version
    folder.mkdir(parents=True)
    for name, rows in (("tasks.jsonl", tasks), ("calibration.jsonl", everybody)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "checks.json").write_text(json.dumps({"repeats": {}, "gold": {}, **checks}))
    (folder / "guidelines.md").write_text("Rank them.")
    manifest = {"created": created, "config": {"question": question}, "inputs": {}, "metrics": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_blind(project: Path, tasks: Sequence[Task], policies: tuple[str, str], version: str, evaluation: str) -> None:
    """Write a version of `blind`: the first policy's answer is in the first slot of every second task."""
    folder = project / "blind" / version
    folder.mkdir(parents=True)
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks))
    pairs = [{"task": row["id"], "prompt": row["id"], "first": policies[0], "second": policies[1]} for row in tasks]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    slots = {
        row["id"]: [{"answer": 0, "policy": name} for name in (policies if number % 2 == 0 else policies[::-1])]
        for number, row in enumerate(tasks)
    }
    (folder / "slots.json").write_text(json.dumps(slots))
    (folder / "guidelines.md").write_text("Which is better?")
    made_from = {"evaluation": {"stage": "evaluate", "version": evaluation}}
    (folder / "manifest.json").write_text(json.dumps({"created": "2026-11-05", "config": {}, "inputs": made_from}))


def _copies(
    tasks: Sequence[Task],
    given: Mapping[str, Mapping[str, Sequence[int]]],
    question: Question,
    seconds: float,
    comments: Mapping[str, str],
    start: datetime,
) -> Iterable[Any]:
    known = {one["id"]: one for one in tasks}
    for annotator, ranks in given.items():
        for number, (name, own) in enumerate(ranks.items()):
            if name in known:
                when = (start + timedelta(seconds=seconds * number)).isoformat()
                values = raw_values(question, own, comments.get(annotator, "")) if own else {}  # type: ignore[arg-type]
                yield {
                    "task": name,
                    "checksum": checksum(known[name]),
                    "annotator": annotator,
                    "status": "submitted" if own else "discarded",
                    "values": values if own else {"comment": {"value": "no answer is right"}},
                    "inserted": when,
                    "updated": when,
                }
