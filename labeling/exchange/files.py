"""Reads and writes files of rankings: detects their format, reads them whole, writes them atomically."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labeling.backend import LabelingError
from labeling.exchange.columns import UNMAPPED, Columns
from labeling.exchange.forms import form_of, read_rows
from labeling.exchange.jsonlines import rankings_text
from labeling.exchange.outcome import MAX_BAD_FRACTION, OnBadRow, Outcome, Place, pooled_outcome
from labeling.exchange.platforms import has_lost_ranks
from labeling.exchange.reading import BadRows, Reading, Unusable, refuse
from labeling.exchange.tables import read_table, write_long, write_wide
from labeling.files import write_atomically
from labeling.records import Ranking
from labeling.signatures import PARQUET, way_out

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
WRITABLE = {"rankings": rankings_text, "wide": write_wide, "long": write_long}

_MAX_ROWS_FOR_DETECTION = 100
_LOSSY = (
    "Files written by Argilla's client have lost the ranks: they keep the order of the options, so every answer from "
    "Argilla's page would read as first > second > third, without ties (argilla issue 5677). Import from "
    "the server instead: python -m labeling import --dataset NAME --workspace WS --to rankings.jsonl"
)


def read(
    sources: Path | Sequence[Path],
    form: str | None = None,
    columns: Columns = UNMAPPED,
    on_bad_row: OnBadRow = "drop",
    max_bad_fraction: float = MAX_BAD_FRACTION,
) -> Outcome:
    """All rankings of the files, pooled: votes on one prompt become one ranking, also across files.

    Raises LabelingError (request) if a file cannot be read, or as `pooled_outcome` does.
    """
    files = _files([sources] if isinstance(sources, Path) else sources)
    readings = [_reading(file, form, columns) for file in files]
    names = ", ".join(map(str, [sources] if isinstance(sources, Path) else sources))
    return pooled_outcome(names, readings, on_bad_row, max_bad_fraction)


def _reading(file: Path, form: str | None, columns: Columns) -> Reading:
    rows, bad = _parsed(file)
    try:
        chosen = form or _form(rows, columns)
        reading = read_rows([(Place(str(file), place), row) for place, row in rows], chosen, columns)
    except LabelingError as error:
        raise LabelingError(f"{file}: {error}", fault="request") from None
    for place, fault, row in bad:
        reading.rows += 1
        reading.add_bad(Place(str(file), place), fault, row)
    return reading


def _form(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> str:
    """The format of the first rows. Raises LabelingError (request) if none matches."""
    head = [row for _, row in rows[:_MAX_ROWS_FOR_DETECTION]]
    found = Counter(form for row in head if (form := form_of(row)))
    if found:
        return found.most_common(1)[0][0]
    if any(has_lost_ranks(row) for row in head):
        refuse(_LOSSY)
    if not head:
        return "rankings"
    if len(columns.responses) > 1 and (columns.choice or len(columns.ranks) > 1):
        return "pairs" if columns.choice else "wide"
    names = ", ".join(dict.fromkeys(str(name) for row in head for name in row))
    refuse(
        "It has no rankings: neither ranks or scores beside responses, nor a verdict on two of them. "
        f"The columns are {names}. If it has rankings, name the format and the columns: "
        "--format wide --prompt-field … --response-fields … --rank-fields …, or --format pairs … --choice-field …. "
        "Other formats are read by `python -m pipeline stage=preferences labeling=file labeling.path=FILE`."
    )


def write(target: Path, rankings: Sequence[Ranking], form: str, overwrite: bool = False) -> None:
    """Write a file of rankings. Tables begin with a byte order mark, so that Excel detects UTF-8.

    Raises LabelingError if the file exists and `overwrite` is false, or if it cannot be written.
    """
    refuse_existing(target, overwrite)
    try:
        write_text(target, WRITABLE[form](rankings), "utf-8" if form == "rankings" else "utf-8-sig")
    except UnicodeEncodeError as error:
        half = f"half a surrogate pair ({error.object[error.start]!a}), which a table in UTF-8 cannot hold"
        raise LabelingError(f"A text has {half}. Export it as rankings.", fault="request") from None


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Raise LabelingError (request) if the file exists and is not to be replaced."""
    if target.exists() and not overwrite:
        raise LabelingError(f"{target} exists. Choose another name, or give --overwrite.", fault="request")


def write_text(target: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a file whole or not at all. Raises LabelingError if it cannot be written."""
    data = text.encode(encoding)
    try:
        write_atomically(target, data)
    except OSError as error:
        raise LabelingError(
            f"{target} could not be written: {error.strerror}. Check the free space and the permissions of "
            f"{target.parent}."
        ) from None


def _text(source: Path) -> str:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise LabelingError(f"{source} could not be read: {error.strerror}. Check the path.", fault="request") from None
    hint = way_out(data)
    try:
        if hint:
            raise LabelingError(f"{source}: {hint}{' ' + _LOSSY if data.startswith(PARQUET) else ''}", fault="request")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelingError(
            f"{source}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). Save it in UTF-8.", fault="request"
        ) from None
    if not text.strip():
        raise LabelingError(f"{source} is empty.", fault="request")
    return text


def _parsed(file: Path) -> tuple[Sequence[tuple[str, Mapping[str, Any]]], BadRows]:
    """((place, row) of all rows, the entries that are not rows)."""
    text = _text(file)
    if text.lstrip()[:1] not in ("{", "["):
        try:
            return read_table(text)
        except LabelingError as error:
            raise LabelingError(f"{file}: {error}", fault="request") from None
    rows: list[tuple[str, Any]] = []
    bad: BadRows = []
    for place, entry in _objects(file, text, bad):
        if isinstance(entry, dict):
            rows.append((place, entry))
        else:
            bad.append((place, Unusable("row", "must be a JSON object", entry), entry))
    return rows, bad


def _objects(file: Path, text: str, bad: BadRows) -> Iterator[tuple[str, Any]]:
    """(place, value) of the entries of one JSON document, or of each line. Raises LabelingError if it is broken."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("[") and not text.lstrip().partition("\n")[0].rstrip().endswith("]"):
            where = f"line {getattr(error, 'lineno', 1)}"
            raise LabelingError(f"{file}, {where}: not valid JSON ({error}).", fault="request") from None
    else:
        entries = whole if isinstance(whole, list) else [whole]
        yield from ((f"entry {number}", entry) for number, entry in enumerate(entries, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):  # a text may hold U+2028, at which splitlines would cut
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                bad.append((f"line {number}", Unusable("line", "not valid JSON", line), line))
            else:
                yield f"line {number}", value


def _files(sources: Sequence[Path]) -> list[Path]:
    """The files themselves and the readable files in folders. Raises LabelingError for a folder without any."""
    found: list[Path] = []
    for source in sources:
        inside = sorted(filter(_is_readable, source.iterdir())) if source.is_dir() else []
        if source.is_dir() and not inside:
            refuse(f"{source} is a folder without a file {', '.join(SUFFIXES)}. {_LOSSY}")
        found += inside or [source]
    return list({file.resolve(): file for file in found}.values())  # each file once


def _is_readable(file: Path) -> bool:
    """Whether a file in a folder is readable: not hidden, not a ledger, with a known suffix."""
    hidden = file.name.startswith(".") or file.name.endswith(".ledger.jsonl")
    return file.suffix.lower() in SUFFIXES and not hidden
