"""The embedded Argilla server under load: cold start, push and pull, fifty annotators at once, memory.

    python benchmarks/labeling_server.py [--records 3000] [--annotators 50] [--seconds 60] [--overlap 2..4]

Each record has four answers of 150 words; 20 of them, the calibration, are for all annotators and lie in a second
dataset of the same queue. Every annotator has an own thread, connection and token, as the page has, fetches the pending
queue by pages of ten and submits one ranking after the other without pause for a minute: people are slower. Two thirds
of the rankings are the record's own order, so with an overlap of 2..4 some records need two answers and others more.
Client and server share this machine's cores. It ends with status 1 if a request fails, or an answer is lost, doubled,
or missing in the count of complete records.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import AnnotatorAnswer, Question, Queue, Round, answers_needed
from labeling.overlap import Overlap, overlap_of
from labeling.questions import raw_values
from labeling.records import Message, Task, stable_random
from labeling.server import Connection, accounts, serving
from labeling.server.accounts import checked
from labeling.server.home import Home

WORKSPACE = "benchmark"
ANSWERS, WORDS, CALIBRATION, RANDOM = 4, 150, 20, 1 / 3
PENDING = {
    "filters": {
        "type": "and",
        "and": [
            {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]},
            {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]},
        ],
    }
}


def tasks(count: int) -> list[Task]:
    vocabulary = [f"word{number}" for number in range(2000)]
    made: list[Task] = []
    for number in range(count):
        draw = stable_random("benchmark", number)
        answers = [" ".join(draw.choices(vocabulary, k=WORDS)) for _ in range(ANSWERS)]
        prompt = [Message(role="user", content=f"{number}: {answers[0]}")]
        made.append({"id": f"task{number:05}", "prompt": prompt, "responses": answers})
    return made


def published(
    workspace: str, question: Question, given: Sequence[Task], calibration: int, overlap: Overlap, people: int
) -> Round:
    """A round as `publish` makes it: a queue of the first tasks for all annotators, and one of the others."""
    everybody = Queue(f"{workspace}-calibration", given[:calibration], people)
    return Round(workspace, question, "Rank.", [everybody, Queue(workspace, given[calibration:], *overlap)])


def password_of(home: Path, name: str) -> str:
    return (home / "invitations" / f"{name}.txt").read_text().split("Password")[1].split()[0]


def token_of(owner: Connection, home: Path, name: str) -> str:
    """The token that the page sends."""
    with httpx.Client(base_url=owner.url, timeout=60) as client:
        login = {"username": name, "password": password_of(home, name)}
        return str(checked(client.post("/api/v1/token", data=login))["access_token"])


class Annotator:
    """One person's work: the seconds of every submit and of every page fetched, and what went wrong."""

    def __init__(self, url: str, token: str, dataset: str) -> None:
        self.dataset = dataset
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.submits: dict[str, float] = {}  # record id -> seconds
        self.pages: list[float] = []
        self.faults: list[str] = []

    def work(self, seconds: float, begin: threading.Barrier) -> "Annotator":
        begin.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            took, page = self.post(f"/me/datasets/{self.dataset}/records/search?limit=10", PENDING)
            self.pages.append(took)
            if not page or not page["items"]:
                break
            for item in page["items"]:
                record = item["record"]["id"]
                draw = random.Random() if random.random() < RANDOM else random.Random(record)
                values = raw_values("ranking", draw.sample(range(1, ANSWERS + 1), ANSWERS))
                took, given = self.post(f"/records/{record}/responses", {"status": "submitted", "values": values})
                if given:
                    self.submits[record] = took
                if time.monotonic() > end:
                    break
        self.http.close()
        return self

    def post(self, path: str, body: Any) -> tuple[float, Any]:
        """Seconds and the answer's JSON, None for a fault."""
        start = time.perf_counter()
        try:
            self.http.request("POST", f"/api/v1{path}", json.dumps(body), self.headers)
            answer = self.http.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.faults.append(f"{type(error).__name__}: {error}")
            self.http.close()
            return time.perf_counter() - start, None
        took = time.perf_counter() - start
        if answer.status >= 300:
            self.faults.append(f"{answer.status}: {text.decode(errors='replace')[:200]}")
            return took, None
        return took, json.loads(text)


def processor(pid: int) -> float:
    """Seconds of processor time so far: what does not depend on what else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Peak resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def milliseconds(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    median, most = statistics.median(seconds), max(seconds)
    return f"p50 {1000 * median:.0f} ms, p95 {1000 * cuts[-1]:.0f} ms, most {1000 * most:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="of work without pause")
    parser.add_argument("--overlap", type=overlap_of, default=Overlap(2, 4), help="as labeling.overlap (%(default)s)")
    given = parser.parse_args()
    console = Console()
    table = Table("what", "measured", box=None)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        start = time.perf_counter()
        with serving(home, say=console.print) as owner:
            table.add_row("cold start, new home", f"{time.perf_counter() - start:.1f} s")
            faults = load(given, owner, home, table)
        start = time.perf_counter()
        with serving(home, say=lambda message: None):
            table.add_row("warm start", f"{time.perf_counter() - start:.1f} s")
    console.print(table)
    for fault, count in Counter(faults).most_common(5):
        console.print(f"[red]{count:,} times[/]: {fault}", markup=True)
    return 1 if faults else 0


def load(given: argparse.Namespace, owner: Connection, home: Path, table: Table) -> list[str]:
    """Push, work, pull; what was measured goes into the table. Returns what went wrong."""
    state = Home(home).state()
    assert state is not None
    asked = published(WORKSPACE, "ranking", tasks(given.records), CALIBRATION, given.overlap, given.annotators)
    backend = ArgillaBackend(owner, home=home)
    start = time.perf_counter()
    backend.publish(asked)
    table.add_row(f"push of {given.records:,} records", f"{time.perf_counter() - start:.1f} s")
    names = [f"annotator{number}" for number in range(given.annotators)]
    accounts.add_annotators(owner, names, WORKSPACE, home)
    tokens = [token_of(owner, home, name) for name in names]
    with httpx.Client(base_url=owner.url, headers={"Authorization": f"Bearer {tokens[0]}"}) as page:
        (queue,) = checked(page.get("/api/v1/me/datasets"))["items"]  # one for each project
    begin = threading.Barrier(given.annotators)
    start, used = time.perf_counter(), processor(state.pid)
    with ThreadPoolExecutor(given.annotators) as pool:
        jobs = [pool.submit(Annotator(owner.url, token, queue["id"]).work, given.seconds, begin) for token in tokens]
        people = [job.result() for job in jobs]
    seconds, used = time.perf_counter() - start, processor(state.pid) - used
    submits = [took for person in people for took in person.submits.values()]
    pages = [took for person in people for took in person.pages]
    table.add_row(f"{len(submits):,} submits, {given.annotators} at once", milliseconds(submits))
    table.add_row("  a second", f"{len(submits) / seconds:.0f}, and {len(pages) / seconds:.0f} pages of the queue")
    table.add_row("  server's processor time for each", f"{1000 * used / len(submits):.1f} ms")
    table.add_row("  pages of the queue", milliseconds(pages))
    start = time.perf_counter()
    answers = backend.answers(asked)
    table.add_row(f"pull, {len(answers):,} answers", f"{time.perf_counter() - start:.1f} s")
    table.add_row("peak memory", f"{memory(state.pid):.0f} MB")
    faults = [fault for person in people for fault in person.faults]
    table.add_row("faults", f"{len(faults):,}")
    submitted = {name: len(person.submits) for name, person in zip(names, people, strict=True)}
    return [*faults, *wrong(asked, answers, submitted, completed(owner), table)]


def completed(owner: Connection) -> int:
    """The number of complete records on the server."""
    with owner.client() as client:
        found = checked(client.get("/me/datasets"))["items"]
        return sum(int(checked(client.get(f"/datasets/{one['id']}/progress"))["completed"]) for one in found)


def wrong(
    asked: Round, answers: Sequence[AnnotatorAnswer], submitted: Mapping[str, int], complete: int, table: Table
) -> list[str]:
    """What is lost, doubled, or beyond what a record can get; `submitted` maps annotators to accepted answers."""
    given = Counter(answer["task"] for answer in answers)
    needed, most = answers_needed(asked, answers), dict[str, int]()
    for queue in asked.queues:
        most |= dict.fromkeys((task["id"] for task in queue.tasks), queue.most or queue.overlap)
    done = sum(given[task] >= count for task, count in needed.items())
    spread = ", ".join(f"{tasks:,} with {count}" for count, tasks in sorted(Counter(given.values()).items()))
    table.add_row("records complete; by number of answers", f"{done:,}; {spread}")
    table.add_row("answers beyond their highest number", f"{sum(max(0, given[task] - most[task]) for task in given):,}")
    kept = Counter(answer["annotator"] for answer in answers)
    faults = [
        f"{name} submitted {count}, kept are {kept[name]}" for name, count in submitted.items() if kept[name] != count
    ]
    if len({(answer["task"], answer["annotator"]) for answer in answers}) < len(answers):
        faults.append("an annotator has two answers to one task")
    if done != complete:
        faults.append(f"{done:,} records have the answers that they need, but {complete:,} are complete on the server")
    return faults


if __name__ == "__main__":
    sys.exit(main())
