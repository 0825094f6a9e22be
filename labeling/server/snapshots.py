"""Snapshots of people's answers: a second copy in the project, since a server's folder can be lost.

A queue has one owner-only file, `<folder>/QUEUE.jsonl`, with one line per answer: task, annotator, status, values and
times; no keys, no passwords. A later answer replaces the earlier one, and nothing is removed: a server that lost its
data does not empty its copy (`labeling.server.copied`). `projects.json` in a server's home maps each workspace to the
folder of its copies, so that `labeling status` and the supervisor know where to write.
"""

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import httpx

from labeling.backend import LabelingError
from labeling.server.accounts import checked, session
from labeling.server.connection import Connection, running
from labeling.server.copied import FIELDS, Copy, answers_in, marked, merged
from labeling.server.home import Home, Lock, write_private

SECONDS = 120.0  # between two snapshots of the supervisor
TIMEOUT = 10.0  # seconds; a server that is slower is asked again next time
PAGE = 200  # records per request: the server answers nobody else meanwhile


def keep(folder: Path, queue: str, answers: Iterable[Copy]) -> list[Copy]:
    """Add answers to a queue's snapshot and return all in it. Raises `LabelingError` for a damaged one."""
    given = list(answers)
    if not given and not _file(folder, queue).exists():
        return []
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Lock(folder / ".lock")
    try:
        if not lock.acquire(wait=TIMEOUT):
            raise LabelingError(f"Another process keeps {folder}, the copies of people's answers, locked. Try again.")
        before = read(folder, queue)
        after = merged(before, given)
        if after != before:
            lines = (json.dumps(copy, ensure_ascii=False) + "\n" for copy in after)
            write_private(_file(folder, queue), "".join(lines))
        return after
    finally:
        lock.close()


def read(folder: Path, queue: str) -> list[Copy]:
    """Return a queue's snapshot; empty without one. Raises `LabelingError` (request) for a damaged file."""
    file = _file(folder, queue)
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # a comment can hold other line ends
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise LabelingError(f"{file}, the copy of people's answers, cannot be read: {error}", "request") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            copy = json.loads(line)
            found.append(marked(cast(Copy, {name: copy[name] for name in FIELDS}), "gone" in copy))
        except (ValueError, KeyError, TypeError):
            raise LabelingError(
                f"{file}, line {number}: not an answer. The file is the copy of people's answers: repair the line, or "
                "move the file away.",
                "request",
            ) from None
    return found


def _file(folder: Path, queue: str) -> Path:
    return folder / f"{quote(queue, safe='')}.jsonl"


def annotators(folder: Path) -> set[str]:
    """Return the names of all people with an answer in a project's snapshots."""
    return {copy["annotator"] for queue in queues(folder) for copy in read(folder, queue)}


def queues(folder: Path) -> list[str]:
    """Return the names of the queues that have a snapshot."""
    return sorted(unquote(file.name.removesuffix(".jsonl")) for file in folder.glob("*.jsonl"))


def register(home: Path, workspace: str, folder: Path) -> None:
    """Record where the answers in a workspace are copied to."""
    place = Home(home)
    place.make()
    lock = place.lock("projects")
    try:
        lock.acquire(wait=math.inf)
        known = _registered(place)
        # relative, so that a copied or moved tree does not write into the original
        wanted = {**known, workspace: os.path.relpath(folder.absolute(), place.path)}
        if wanted != known:
            write_private(place.path / "projects.json", json.dumps(wanted))
    finally:
        lock.close()


def _registered(place: Home) -> dict[str, str]:
    try:
        return dict(json.loads((place.path / "projects.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def projects(home: Path) -> dict[str, Path]:
    """Return the folder of the copies for each workspace whose project still exists."""
    place = Home(home)
    found = {name: Path(os.path.normpath(place.path / path)) for name, path in _registered(place).items()}
    return {name: folder for name, folder in found.items() if folder.parent.is_dir()}


def take(connection: Connection, home: Path, seen: dict[str, str] | None = None) -> dict[Path, int]:
    """Copy the answers on a server into their projects; return the number of copies in each folder.

    `seen` maps a dataset's id to its last activity: a dataset without a new one is not read. Raises `LabelingError`.
    """
    seen = {} if seen is None else seen
    counts: dict[Path, int] = {}
    known = projects(home)
    if not known:
        return {}
    with session(connection, TIMEOUT) as client:
        folders = {
            place["id"]: known[place["name"]]
            for place in checked(client.get("/me/workspaces"))["items"]
            if place["name"] in known
        }
        names = {user["id"]: user["username"] for user in checked(client.get("/users"))["items"]}
        for dataset in checked(client.get("/me/datasets"))["items"]:
            folder = folders.get(dataset["workspace_id"])
            if folder is None:
                continue
            if seen.get(dataset["id"]) != dataset["last_activity_at"]:
                before = read(folder, dataset["name"])
                keep(folder, dataset["name"], answers_in(_records(client, dataset), names, before))
                seen[dataset["id"]] = dataset["last_activity_at"]
            counts[folder] = counts.get(folder, 0) + len(read(folder, dataset["name"]))
    return counts


def _records(client: httpx.Client, dataset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    offset, total = 0, 1
    while offset < total:
        where = f"/datasets/{dataset['id']}/records?offset={offset}&limit={PAGE}&include=responses"
        page = checked(client.get(where))
        yield from page["items"]
        offset, total = offset + PAGE, page["total"]


class Snapshots:
    """Takes snapshots of a home's server on a thread, until the end of the block."""

    def __init__(self, place: Home, say: Callable[[str], None], seconds: float | None = None) -> None:
        self._place, self._say = place, say
        self._seconds = SECONDS if seconds is None else seconds
        self._seen: dict[str, str] = {}
        self._fault = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Snapshots":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()

    def take(self) -> None:
        """Take one snapshot; a fault is reported, once, and does not end the server."""
        try:
            if connection := running(self._place.path):
                take(connection, self._place.path, self._seen)
            self._fault = ""
        except (LabelingError, OSError) as error:
            if str(error) != self._fault:
                self._say(f"no copy of the answers: {error}")
            self._fault = str(error)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.take()
