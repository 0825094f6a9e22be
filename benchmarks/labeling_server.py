"""The embedded Argilla server under load: cold start, push and pull, fifty annotators at once, memory.

    python benchmarks/labeling_server.py [--records 3000] [--annotators 50] [--seconds 60]

Each record has four answers of 150 words. Every annotator has an own thread, connection and key, fetches the pending
queue by pages of ten as Argilla's page does, and submits one ranking after the other without pause for a minute: people
are slower. Client and server share this machine's cores. It ends with status 1 if a request fails or an answer is lost
or doubled.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Queue, Round
from labeling.questions import raw_values
from labeling.records import Task, stable_random
from labeling.server import Connection, accounts, serving
from labeling.server.home import Home

WORKSPACE, DATASET = "benchmark", "benchmark"
ANSWERS, WORDS, OVERLAP = 4, 150, 3
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
        made.append({"id": f"task{number}", "prompt": [{"role": "user", "content": answers[0]}], "responses": answers})
    return made


class Annotator:
    """One person's work: the seconds of every submit and of every page fetched, and what went wrong."""

    def __init__(self, connection: Connection, dataset: str) -> None:
        self.dataset = dataset
        self.headers = {"X-Argilla-Api-Key": connection.api_key, "Content-Type": "application/json"}
        self.http = http.client.HTTPConnection(urlsplit(connection.url).netloc, timeout=60)
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
                values = raw_values("ranking", random.sample(range(1, ANSWERS + 1), ANSWERS))
                record = item["record"]["id"]
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
    cuts = statistics.quantiles(seconds, n=20)
    median, most = statistics.median(seconds), max(seconds)
    return f"p50 {1000 * median:.0f} ms, p95 {1000 * cuts[-1]:.0f} ms, most {1000 * most:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="of work without pause")
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
    asked = Round(WORKSPACE, "ranking", "Rank.", [Queue(DATASET, tasks(given.records), overlap=OVERLAP)])
    backend = ArgillaBackend(owner, home=home)
    start = time.perf_counter()
    backend.publish(asked)
    table.add_row(f"push of {given.records:,} records", f"{time.perf_counter() - start:.1f} s")
    names = [f"annotator{number}" for number in range(given.annotators)]
    accounts.add_annotators(owner, names, WORKSPACE, home)
    keys = [accounts.key_of(owner, name) for name in names]
    with owner.client() as client:
        dataset = client.get("/me/datasets").json()["items"][0]["id"]
    begin = threading.Barrier(given.annotators)
    start, used = time.perf_counter(), processor(state.pid)
    with ThreadPoolExecutor(given.annotators) as pool:
        jobs = [pool.submit(Annotator(key, dataset).work, given.seconds, begin) for key in keys]
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
    with owner.client() as client:
        done = client.get(f"/datasets/{dataset}/progress").json()
    beyond = sum(max(0, count - OVERLAP) for count in Counter(answer["task"] for answer in answers).values())
    table.add_row("records complete, answers beyond their overlap", f"{done['completed']:,}, {beyond:,}")
    table.add_row("peak memory", f"{memory(state.pid):.0f} MB")
    faults = [fault for person in people for fault in person.faults]
    table.add_row("faults", f"{len(faults):,}")
    wanted = Counter({name: len(person.submits) for name, person in zip(names, people, strict=True)})
    kept = Counter(answer["annotator"] for answer in answers)
    faults += [
        f"{name} submitted {count}, kept are {kept[name]}" for name, count in wanted.items() if kept[name] != count
    ]
    return faults


if __name__ == "__main__":
    sys.exit(main())
