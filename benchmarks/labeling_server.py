"""The embedded Argilla server under load: cold start, push and pull, ten annotators at once, memory.

    python benchmarks/labeling_server.py [--records 1000] [--annotators 10] [--submits 100]

Each record has four answers of 150 words. Every annotator has an own thread and key, fetches the pending queue by pages
of ten as Argilla's page does, and submits one ranking after the other without pause: people are slower. Client and
server share this machine's cores.
"""

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Queue, Round
from labeling.questions import raw_values
from labeling.records import Task, stable_random
from labeling.server import Connection, accounts, serving
from labeling.server.home import Home

WORKSPACE, DATASET = "benchmark", "benchmark"
ANSWERS, WORDS, OVERLAP = 4, 150, 2
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


def annotate(
    connection: Connection, dataset: str, submits: int, begin: threading.Barrier
) -> tuple[list[float], list[float]]:
    """One annotator's work: the seconds of every submit, and of every page fetched."""
    submitting, fetching = [], []
    with connection.client(timeout=60) as client:
        begin.wait()
        while len(submitting) < submits:
            start = time.perf_counter()
            page = client.post(f"/me/datasets/{dataset}/records/search", json=PENDING, params={"limit": 10})
            fetching.append(time.perf_counter() - start)
            items = page.raise_for_status().json()["items"]
            if not items:
                break
            for item in items[: submits - len(submitting)]:
                values = raw_values("ranking", random.sample(range(1, ANSWERS + 1), ANSWERS))
                body = {"status": "submitted", "values": values}
                start = time.perf_counter()
                client.post(f"/records/{item['record']['id']}/responses", json=body).raise_for_status()
                submitting.append(time.perf_counter() - start)
    return submitting, fetching


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--annotators", type=int, default=10)
    parser.add_argument("--submits", type=int, default=100, help="by each annotator")
    given = parser.parse_args()
    console = Console()
    table = Table("what", "measured", box=None)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        start = time.perf_counter()
        with serving(home, say=console.print) as owner:
            table.add_row("cold start, new home", f"{time.perf_counter() - start:.1f} s")
            state = Home(home).state()
            assert state is not None
            asked = Round(WORKSPACE, "ranking", "Rank.", [Queue(DATASET, tasks(given.records), overlap=OVERLAP)])
            backend = ArgillaBackend(owner, home=home)
            start = time.perf_counter()
            backend.publish(asked)
            table.add_row(f"push of {given.records:,} records", f"{time.perf_counter() - start:.1f} s")
            names = [f"annotator{number}" for number in range(given.annotators)]
            accounts.add_annotators(owner, names, WORKSPACE, home)
            with owner.client() as client:
                dataset = client.get("/me/datasets").json()["items"][0]["id"]
            begin = threading.Barrier(given.annotators)
            start, used = time.perf_counter(), processor(state.pid)
            with ThreadPoolExecutor(given.annotators) as pool:
                jobs = [
                    pool.submit(annotate, accounts.key_of(owner, name), dataset, given.submits, begin) for name in names
                ]
                work = [job.result() for job in jobs]
            seconds = time.perf_counter() - start
            submitting = [value for one, _ in work for value in one]
            table.add_row(f"{len(submitting):,} submits, {given.annotators} at once", milliseconds(submitting))
            table.add_row("  a second", f"{len(submitting) / seconds:.0f}")
            used = processor(state.pid) - used
            table.add_row("  server's processor time for each", f"{1000 * used / len(submitting):.1f} ms")
            table.add_row("  pages of the queue", milliseconds([value for _, one in work for value in one]))
            start = time.perf_counter()
            answers = backend.answers(asked)
            table.add_row(f"pull, {len(answers):,} answers", f"{time.perf_counter() - start:.1f} s")
            assert len(answers) == len(submitting), "answers were lost"
            with owner.client() as client:
                done = client.get(f"/datasets/{dataset}/progress").json()
            beyond = sum(max(0, count - OVERLAP) for count in Counter(answer["task"] for answer in answers).values())
            table.add_row("records complete, answers beyond their overlap", f"{done['completed']:,}, {beyond:,}")
            table.add_row("peak memory", f"{memory(state.pid):.0f} MB")
        start = time.perf_counter()
        with serving(home, say=lambda message: None):
            table.add_row("warm start", f"{time.perf_counter() - start:.1f} s")
    console.print(table)


if __name__ == "__main__":
    main()
