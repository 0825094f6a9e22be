"""Shards that are merged are what one process gathers from all files: the same rows, ledger, counts and sentences."""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.cleaning.table import default_modes
from pipeline.data.ledger import Ledger
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Gathered, Settings, Source, deduplicate, gather, spans_of_shard
from pipeline.data.row_cleaning import RowCleaner
from pipeline.data.rows import Demonstration
from pipeline.data.scratch import Scratch
from pipeline.data.shards import LEDGER, ROWS, merge_shards, write_shard
from pipeline.data.writing import line_writer
from pipeline.errors import RequestError

WORDS = [f"word{number}" for number in range(60)]
SHARES = {"dev": 0.1, "test": 0.2, "preference": 0.1}
SETTINGS = Settings(RowCleaner(Cleaner(default_modes())), longest=30, max_bad_fraction=0.9, conflicts="first")


def measure(rows: Sequence[Demonstration]) -> list[int]:
    """Words as tokens."""
    return [sum(len(turn["content"].split()) for turn in row["messages"]) for row in rows]


def written(folder: Path, build: Callable[[Scratch, Ledger], Gathered]) -> dict[str, Any]:
    """All that the stage `data` makes of the gathered rows."""
    folder.mkdir()
    with line_writer(folder / "ledger.jsonl") as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder / "scratch") as scratch:
            gathered = build(scratch, ledger)
        decisions = deduplicate(gathered, SETTINGS)
        rows = write_parts(gathered, decisions, folder, shares=SHARES, prompts="every", seed=0)
    return {
        **{file.name: file.read_text() for file in folder.glob("*.jsonl")},
        "rows": rows,
        "reasons": ledger.reasons(),
        "first": {reason: list(map(str, found)) for reason, found in ledger.first.items()},
        "read, kept, dropped": [ledger.reads, ledger.kept, ledger.dropped],
        "sentences": gathered.sentences(),
        "rules": [gathered.changed, gathered.flagged, gathered.examples],
    }


def from_files(folder: Path, sources: Sequence[Source]) -> dict[str, Any]:
    return written(folder, lambda scratch, ledger: gather(sources, SETTINGS, scratch, ledger, measure))


def shard(folder: Path, sources: Sequence[Source], number: int, count: int) -> Path:
    folder.mkdir()
    with line_writer(folder / LEDGER) as write, Scratch(folder / ROWS) as scratch:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        spans = spans_of_shard(sources, number, count)
        write_shard(gather(sources, SETTINGS, scratch, ledger, measure, spans=spans), folder)
    return folder


def from_shards(folder: Path, sources: Sequence[Source], count: int) -> dict[str, Any]:
    shards = [shard(folder.with_name(f"{folder.name}-{n}"), sources, n, count) for n in range(1, count + 1)]
    return written(folder, lambda scratch, ledger: merge_shards(shards, sources, SETTINGS, scratch, ledger))


def line(draw: random.Random) -> str:
    """A row of few words, so that copies, similar rows and other answers to one prompt are in many places."""
    if draw.random() < 0.08:
        return draw.choice(["broken", "{", "[1]", '{"prompt": 5, "completion": ""}', '{"prompt": "alone"}'])
    prompt = " ".join(WORDS[draw.randrange(12)] for _ in range(draw.randint(2, 4)))
    long = " ".join(draw.choices(WORDS, k=draw.choice([4, 12, 40])))
    answer = draw.choice([long, f"<b>{long}</b> &amp; mail me at a@example.org", prompt])
    named = {"id": str(draw.randrange(9))} if draw.random() < 0.3 else {}
    return json.dumps({"prompt": prompt, "completion": answer, **named}, ensure_ascii=draw.random() < 0.5)


def file_of(path: Path, rows: int, draw: random.Random) -> Path:
    text = "".join(line(draw) + "\n" for _ in range(rows))
    first = json.dumps({"prompt": "the first", "completion": f"of {path.name}"}) + "\n"
    data = (first + first.replace("first", "second") + text).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 60), min_size=2, max_size=5),
    suffix=st.sampled_from([".jsonl", ".gz"]),
    tested=st.booleans(),
    count=st.integers(2, 7),
)
def test_shards_are_merged_into_what_one_process_makes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], suffix: str, tested: bool, count: int
) -> None:
    folder, draw = tmp_path_factory.mktemp("shards"), random.Random(seed)
    files = [file_of(folder / f"{number}{suffix}", rows, draw) for number, rows in enumerate(sizes)]
    more = file_of(folder / "more.jsonl", 40, draw)
    weighed = Source("more", [more], weight=1.5)
    sources = [Source("mine", files), Source("test", [more], tested=True) if tested else weighed]
    assert from_shards(folder / "merged", sources, count) == from_files(folder / "whole", sources)


def test_pieces_end_elsewhere_in_shards_and_change_nothing(tmp_path: Path) -> None:
    """With more rows than a piece has, and with boilerplate, which the first rows of all files decide on."""
    draw = random.Random(0)
    common = "please answer the following question in a friendly way and with all details"
    rows = [
        json.dumps(
            {
                "prompt": f"{common} {' '.join(draw.choices(WORDS, k=5))}",
                "completion": " ".join(draw.choices(WORDS, k=5)),
            }
        )
        for _ in range(2600)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([*rows, *rows[100:900:7]]) + "\n")
    assert from_shards(tmp_path / "merged", [Source("mine", [path])], 3) == from_files(
        tmp_path / "whole", [Source("mine", [path])]
    )


def test_marks_are_settled_over_all_files_in_each_shard(tmp_path: Path) -> None:
    """A file that has one mark only is read with the marks of the others."""
    for number, marks in enumerate(([True, False], [True], [False, True])):
        rows = [
            {"prompt": f"prompt {number} {n}", "completion": f"answer {n}", "label": marks[n % len(marks)]}
            for n in range(30)
        ]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [Source("mine", [tmp_path / f"{number}.jsonl" for number in range(3)])]
    made = from_shards(tmp_path / "merged", sources, 4)
    assert made == from_files(tmp_path / "whole", sources)
    assert made["sentences"]["mine"][0].startswith("read as kto")


def test_too_many_bad_rows_are_found_in_the_merge_and_not_in_one_shard(tmp_path: Path) -> None:
    good = "".join(json.dumps({"prompt": f"prompt {n}", "completion": f"answer {n}"}) + "\n" for n in range(40))
    path = tmp_path / "rows.jsonl"
    path.write_text(good + "{broken\n" * 90)
    sources = [Source("mine", [path])]
    shards = [shard(tmp_path / str(number), sources, number, 3) for number in (1, 2, 3)]
    strict = Settings(SETTINGS.row_cleaner, max_bad_fraction=0.5)
    with Scratch(tmp_path / "scratch") as scratch, pytest.raises(RequestError, match="90 of 130 rows"):
        merge_shards(shards, sources, strict, scratch, Ledger())
