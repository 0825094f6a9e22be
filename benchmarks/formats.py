"""Every data file of a folder, read as what it holds: its format, and rows read, kept and dropped by reason.

    python benchmarks/formats.py DIR

Files are found by content, each by itself. Demonstrations go through the default cleaning rules and are compared among
each other; judgements are read as the stage `preferences` reads them; of plain text the passages are counted. What is
neither is refused, and the message is shown.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.cleaning.table import default_modes
from pipeline.data.formats.table import TEXTS
from pipeline.data.judgements.loading import LoadingOptions, load_judgements
from pipeline.data.ledger import Ledger
from pipeline.data.loading import rows_with_format
from pipeline.data.part_files import write_parts
from pipeline.data.pipeline import Settings, Source, deduplicate, gather
from pipeline.data.row_cleaning import RowCleaner
from pipeline.data.scratch import Scratch
from pipeline.errors import RequestError

Read = tuple[str, Ledger, str]
"""(format, ledger, what the rules changed or flagged)"""


def demonstrations(file: Path) -> Read:
    settings, ledger = Settings(RowCleaner(Cleaner(default_modes())), max_bad_fraction=1.0), Ledger()
    with tempfile.TemporaryDirectory() as folder:
        with Scratch(Path(folder) / "scratch") as scratch:
            gathered = gather([Source("files", [file])], settings, scratch, ledger)
        write_parts(gathered, deduplicate(gathered, settings), Path(folder), shares={}, prompts="last", seed=0)
    noted = [f"{rows} changed: {rule}" for rule, rows in gathered.changed.items()]
    noted += [f"{rows} flagged: {rule}" for rule, rows in gathered.flagged.items()]
    return ", ".join(gathered.readings["files"]), ledger, "; ".join(noted)


def judgements(file: Path) -> Read:
    loaded = load_judgements(file, LoadingOptions(max_bad_fraction=1.0))
    return loaded.kind, loaded.ledger, f"{len(loaded.rankings) + len(loaded.pairs)} {loaded.kind}"


def passages(file: Path) -> Read:
    rows, chosen = rows_with_format(file, "auto", TEXTS)
    ledger = Ledger()
    ledger.count_read(sum(1 for _ in rows))
    return f"{chosen.name} (no prompts, no answers)", ledger, ""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    table = Table(title=f"every file in {folder}", show_lines=True)
    for column in ("file", "as", "format", "read", "kept", "dropped, by reason", "noted"):
        table.add_column(column, justify="right" if column in ("read", "kept") else "left", overflow="fold")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for line in _lines(file):
            table.add_row(str(file.relative_to(folder)), *line)
    Console(width=150).print(table)


def _lines(file: Path) -> list[list[str]]:
    """One line for each way in which a file can be read; where there is none, why not."""
    ways: dict[str, Callable[[Path], Read]] = {
        "demonstrations": demonstrations,
        "judgements": judgements,
        "text": passages,
    }
    lines, refusal = [], ""
    for name, way in ways.items():
        try:
            form, ledger, noted = way(file)
        except RequestError as error:
            refusal = refusal or str(error).splitlines()[0]
            continue
        assert ledger.read == ledger.kept + ledger.dropped
        reasons = "; ".join(f"{count} x {reason}" for reason, count in ledger.reasons().items())
        lines.append([name, form, f"{ledger.read:,}", f"{ledger.kept:,}", reasons, noted])
    return lines or [["refused", "", "", "", refusal, ""]]


if __name__ == "__main__":
    main()
