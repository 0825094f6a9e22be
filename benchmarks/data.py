"""Reading, cleaning, near-deduplicating and splitting generated rows, and near-deduplication beside `datasketch`.

    python benchmarks/data.py [--rows 1000000] [--words 200] [--processes 2] [--compare 50000] [--folder DIR]

Makes JSON lines of `--rows` conversations (five in a hundred are near-copies of others, two are exact ones), prepares
them as the stage `data` does, then twice as many. Given are the rows per second of each step, the peak memory of this
process and of its helpers together, and the ratio of the times. Then `--compare` texts are near-deduplicated by ours
and by datasketch's MinHash and MinHashLSH in plain Python, in turn: the ratio of the times, and how many of the planted
copies each finds. No model, no network.
"""

import argparse
import json
import random
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.cleaning.table import default_modes
from pipeline.data.deduplication.decisions import Decisions
from pipeline.data.deduplication.minhash import BANDS, bands_of, connected, near_pairs, signatures, similar_in
from pipeline.data.ledger import Ledger
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Settings, Source, deduplicate, gather
from pipeline.data.reading.files import read_rows
from pipeline.data.row_cleaning import RowCleaner
from pipeline.data.scratch import Scratch
from pipeline.data.writing import line_writer

SHARES = {"dev": 0.02, "test": 0.03, "preference": 0.1, "rl": 0.1}
NEAR, EXACT, EDITS = 0.05, 0.02, 5  # shares of copies; words changed in a near-copy
THRESHOLD = 0.8


class Texts:
    """Texts of made-up words, by number: the same number, the same text."""

    def __init__(self, words: int) -> None:
        draw = random.Random(0)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.vocabulary = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(30_000)]
        self.words = words

    def text(self, number: int) -> str:
        return " ".join(random.Random(number).choices(self.vocabulary, k=self.words))

    def near(self, number: int) -> str:
        words, draw = self.text(number).split(), random.Random(f"near {number}")
        for place in draw.sample(range(len(words)), EDITS):
            words[place] = draw.choice(self.vocabulary)
        return " ".join(words)


def conversations(rows: int, texts: Texts) -> Iterator[str]:
    """JSON lines; copies stand far from their originals."""
    originals = round(rows * (1 - NEAR - EXACT))
    near = originals + round(rows * NEAR)
    for number in range(rows):
        said = (
            texts.text(number)
            if number < originals
            else texts.near(number - originals)
            if number < near
            else texts.text(number - near)
        )
        cut = len(said) // 4
        yield json.dumps(
            {"messages": [{"role": "user", "content": said[:cut]}, {"role": "assistant", "content": said[cut:]}]}
        )


class Memory:
    """The most memory that this process and its children have held at once, in MiB, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        own = psutil.Process()
        while not self._done.wait(0.1):
            held = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    held += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, held / 2**20)


def prepared(file: Path, folder: Path, processes: int) -> dict[str, float]:
    """Seconds of each step, and the rows that came out of it."""
    settings = Settings(RowCleaner(Cleaner(default_modes())), processes=processes)
    seconds: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        made = run()
        seconds[name] = time.perf_counter() - began
        return made

    timed("read alone", lambda: sum(1 for _ in read_rows(file)))
    with line_writer(folder / "ledger.jsonl") as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder / "scratch") as scratch:
            gathered = timed(
                "read, clean, fingerprint", lambda: gather([Source("rows", [file])], settings, scratch, ledger)
            )
        decisions: Decisions = timed("near-deduplicate", lambda: deduplicate(gathered, settings))
        rows = timed(
            "split and write", lambda: write_parts(gathered, decisions, folder, shares=SHARES, prompts="last", seed=0)
        )
    seconds["all"] = sum(seconds[name] for name in list(seconds)[1:])
    assert ledger.read == ledger.kept + ledger.dropped
    return {
        **seconds,
        "read": ledger.read,
        "kept": ledger.kept,
        "near": ledger.at("near-duplicate"),
        "exact": ledger.at("duplicate"),
        "sft": rows["sft"],
    }


def growth(given: argparse.Namespace, folder: Path, console: Console) -> None:
    """Once and twice as many rows."""
    texts, found = Texts(given.words), []
    for rows in (given.rows, 2 * given.rows):
        file = folder / f"{rows}.jsonl"
        with line_writer(file) as write:
            for line in conversations(rows, texts):
                write(line)
        own = folder / f"out-{rows}"
        own.mkdir()
        with Memory() as memory:
            seconds = prepared(file, own, given.processes)
        found.append((rows, seconds, memory.peak, file.stat().st_size))
        shutil.rmtree(own)
        file.unlink()
    table = Table(title=f"{given.words} words a row, {given.processes} processes")
    for column in ("", *(f"{rows:,} rows" for rows, *_ in found), "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for step in ("read alone", "read, clean, fingerprint", "near-deduplicate", "split and write", "all"):
        cells = [f"{seconds[step]:,.0f} s, {rows / seconds[step]:,.0f} rows/s" for rows, seconds, _, _ in found]
        table.add_row(step, *cells, f"{found[1][1][step] / found[0][1][step]:.2f}")
    table.add_row("peak memory", *(f"{peak:,.0f} MiB" for _, _, peak, _ in found), f"{found[1][2] / found[0][2]:.2f}")
    table.add_row("size of the file", *(f"{size / 2**20:,.0f} MiB" for *_, size in found))
    for name in ("read", "kept", "near", "exact"):
        table.add_row(name, *(f"{seconds[name]:,.0f}" for _, seconds, _, _ in found))
    console.print(table)


def ours(texts: list[str]) -> set[int]:
    """The indexes of texts that repeat an earlier one."""
    signed = signatures(texts)
    bands = bands_of(signed)
    clusters = connected(
        len(texts), near_pairs((bands[:, band] for band in range(BANDS)), similar_in(signed, THRESHOLD))
    )
    first: dict[int, int] = {}
    return {index for index, cluster in enumerate(clusters.tolist()) if first.setdefault(cluster, index) != index}


def datasketch(texts: list[str]) -> set[int]:
    """The same with datasketch, as its documentation shows it: one text after the other."""
    from datasketch import MinHash, MinHashLSH

    index, repeated = MinHashLSH(threshold=THRESHOLD, num_perm=128), set()
    for number, text in enumerate(texts):
        words = text.split()
        signed = MinHash(num_perm=128)
        for place in range(len(words) - 2):
            signed.update(" ".join(words[place : place + 3]).encode())
        if index.query(signed):
            repeated.add(number)
        else:
            index.insert(number, signed)
    return repeated


def against_datasketch(given: argparse.Namespace, console: Console) -> None:
    texts, draw = Texts(given.words), random.Random(1)
    originals = round(given.compare * (1 - NEAR))
    rows = [texts.text(number) for number in range(originals)]
    copies = [texts.near(number) for number in draw.sample(range(originals), given.compare - originals)]
    rows += copies
    planted = set(range(originals, len(rows)))
    times: dict[str, list[float]] = {"ours": [], "datasketch": []}
    recall, false = {}, {}
    for _ in range(given.repeats):
        for name, way in (("ours", ours), ("datasketch", datasketch)):
            began = time.perf_counter()
            found = way(rows)
            times[name].append(time.perf_counter() - began)
            recall[name], false[name] = len(found & planted) / len(planted), len(found - planted)
    ratios = [slow / fast for slow, fast in zip(times["datasketch"], times["ours"], strict=True)]
    table = Table(title=f"near-deduplication of {len(rows):,} texts, {len(planted):,} planted copies, one process")
    for column in ("", "seconds (median)", "recall", "false"):
        table.add_column(column, justify="right" if column else "left")
    for name, taken in times.items():
        table.add_row(name, f"{statistics.median(taken):.1f}", f"{recall[name]:.3f}", str(false[name]))
    console.print(table)
    console.print(
        f"datasketch takes {statistics.median(ratios):.1f} times as long [{min(ratios):.1f}, {max(ratios):.1f}]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--compare", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the files are made (5 GB a million rows)")
    given = parser.parse_args()
    console = Console(width=100)
    if given.compare:
        against_datasketch(given, console)
    if given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            growth(given, Path(folder), console)
    console.print(f"peak of this process alone: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
