"""Demonstrations by the way that the stage `data` takes, with no model: read, cleaned or not, compared, written."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.cleaning.table import RULES
from pipeline.data.ledger import Ledger, OnBadRow
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Settings, Source, deduplicate, gather
from pipeline.data.reading.files import Paths, find_files
from pipeline.data.row_cleaning import RowCleaner
from pipeline.data.rows import Demonstration, read_jsonl
from pipeline.data.scratch import Scratch

OFF = {rule.name: "off" for rule in RULES}


def prepared(
    *sources: Source,
    folder: Path,
    modes: Mapping[str, str] = OFF,
    shares: Mapping[str, float] | None = None,
    **more: Any,
) -> tuple[dict[str, list[dict[str, Any]]], Ledger, dict[str, list[str]]]:
    """(the rows of each file that was written, the ledger, the formats of each source)."""
    row_cleaner = RowCleaner(Cleaner(modes), mend_roles=more.pop("mend_roles", False))
    prompts, seed, measure = more.pop("prompts", "last"), more.pop("seed", 0), more.pop("measure", None)
    settings, ledger = Settings(row_cleaner, **more), Ledger()
    with Scratch(folder / "scratch") as scratch:
        gathered = gather(sources, settings, scratch, ledger, measure)
    decisions = deduplicate(gathered, settings)
    rows = write_parts(gathered, decisions, folder, shares=shares or {}, prompts=prompts, seed=seed)
    return (
        {part: read_jsonl(folder / f"{part}.jsonl") for part in rows},
        ledger,
        {name: list(found) for name, found in gathered.readings.items()},
    )


def load_demonstrations(
    paths: Paths, format: str = "auto", on_bad_row: OnBadRow = "drop", max_bad_fraction: float = 0.2
) -> tuple[list[Demonstration], Ledger, str]:
    """(all kept rows, the ledger, the formats of the files joined by a comma)."""
    source = Source("files", find_files(paths), format)
    with tempfile.TemporaryDirectory() as folder:
        rows, ledger, formats = prepared(
            source, folder=Path(folder), on_bad_row=on_bad_row, max_bad_fraction=max_bad_fraction, drop_near=False
        )
    return rows["sft"], ledger, ", ".join(dict.fromkeys(formats["files"]))  # type: ignore[return-value]
