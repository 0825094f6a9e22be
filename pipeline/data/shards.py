"""Shards: parts of the rows that several machines read and clean apart, and the merge of them all.

A shard is stored as the rows to compare (`Scratch`), a ledger of the others, and `shard.json` with everything else of
`Gathered`. Merged in order, the shards are what one process would have gathered from all files, so that all that
follows (duplicates, conflicts, splits) is the same.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.faults import Place
from pipeline.data.formats.coded import Meanings
from pipeline.data.formats.readings import Reading
from pipeline.data.ledger import Dropped, Ledger, check_bad_fraction
from pipeline.data.pipeline import Gathered, Settings, Source, in_order
from pipeline.data.row_cleaning import MAX_EXAMPLES, Change
from pipeline.data.rows import jsonl_rows
from pipeline.data.scratch import Scratch
from pipeline.data.writing import write_lines

ROWS, LEDGER, STATE = "rows", "ledger.jsonl", "shard.json"


def write_shard(gathered: Gathered, folder: Path) -> None:
    """Write `shard.json` beside the rows and the ledger of a shard. Raises PipelineError if writing fails."""
    state = {
        "scratch": gathered.scratch.description(),
        "files": [str(file) for file in gathered.files],
        "reads": gathered.ledger.reads,
        "readings": {
            name: [_reading_as_json(reading) for reading in found.values()] for name, found in gathered.readings.items()
        },
        "meanings": {
            name: [[kind, about, values] for (kind, about), values in found.items()]
            for name, found in gathered.meanings.items()
        },
        "changed": gathered.changed,
        "flagged": gathered.flagged,
        "examples": [_change_as_json(one) for found in gathered.examples.values() for one in found],
    }
    write_lines(folder / STATE, [json.dumps(state)])


def merge_shards(
    folders: Sequence[Path], sources: Sequence[Source], settings: Settings, scratch: Scratch, ledger: Ledger
) -> Gathered:
    """What `gather` returns for all rows, from the folders of all shards, in order.

    Raises RequestError if too many of all rows are malformed.
    """
    gathered = Gathered(scratch, ledger, in_order(sources))
    for folder in folders:
        _add_shard(folder, gathered)
    check_bad_fraction(ledger, settings.max_bad_fraction)
    return gathered


def _add_shard(folder: Path, gathered: Gathered) -> None:
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    for row in jsonl_rows(folder / LEDGER):
        gathered.ledger.add(Dropped.of_row(row))
    for name, count in state["reads"].items():
        gathered.ledger.count_read(count, name)
    for name, found in state["readings"].items():
        for one in found:
            reading = gathered.readings.setdefault(name, {}).setdefault(one["format"], Reading(one["format"]))
            reading.merge(_reading_of_json(one))
    for name, meanings in state["meanings"].items():
        gathered.meanings[name] = _meanings_of_json(meanings) or gathered.meanings.get(name, {})
    gathered.changed += Counter(state["changed"])
    gathered.flagged += Counter(state["flagged"])
    for change in map(_change_of_json, state["examples"]):
        shown = gathered.examples.setdefault(change.rule, [])
        if len(shown) < MAX_EXAMPLES:
            shown.append(change)
    _add_rows(Scratch.of(folder / ROWS, state["scratch"]), [Path(file) for file in state["files"]], gathered)


def _add_rows(rows: Scratch, files: Sequence[Path], gathered: Gathered) -> None:
    if not rows.count:
        return
    places = []
    for file in files:
        if not gathered.files or file != gathered.files[-1]:
            gathered.files.append(file)
        places.append(len(gathered.files) - 1)
    gathered.scratch.extend(rows, {"file": np.array(places, dtype=np.int32)[rows.column("file")]})


def _reading_as_json(reading: Reading) -> dict[str, Any]:
    return {**vars(reading), "read": sorted(reading.read)}


def _reading_of_json(state: Mapping[str, Any]) -> Reading:
    counts = {name: Counter(state[name]) for name in ("columns", "remarks")}
    return Reading(state["format"], state["roles"], set(state["read"]), **counts)


def _meanings_of_json(state: Sequence[Any]) -> Meanings:
    return {(kind, about): values for kind, about, values in state}


def _change_as_json(change: Change) -> list[Any]:
    place = change.place
    return [change.rule, [str(place.file), place.line, place.item], change.before, change.after]


def _change_of_json(state: Sequence[Any]) -> Change:
    rule, (file, line, item), before, after = state
    return Change(rule, Place(Path(file), line, item), before, after)
