"""Files of rankings: which format they are in, read as a whole, written whole or not at all."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labeling.backend import LabelingError
from labeling.exchange.columns import AS_THEY_ARE, Columns
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

_VOTERS = 100  # rows by which a file's format is told
_LOSSY = (
    "What Argilla's client writes to disk has lost the ranks: it keeps the order of the options, so every answer that "
    "was given in Argilla's page would read as first > second > third, without ties (argilla issue 5677). Import from "
    "the server instead: python -m labeling import --dataset NAME --workspace WS --to rankings.jsonl"
)


def read(
    sources: Path | Sequence[Path],
    form: str | None = None,
    columns: Columns = AS_THEY_ARE,
    on_bad_row: OnBadRow = "drop",
    max_bad_fraction: float = MAX_BAD_FRACTION,
) -> Outcome:
    """All rankings of the files, pooled: votes on one prompt are one ranking, whichever file they stand in.

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
        reading.enter_bad(Place(str(file), place), fault, row)
    return reading


def _form(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns) -> str:
    """The format that the first rows show. Raises LabelingError (request) if they show none."""
    head = [row for _, row in rows[:_VOTERS]]
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
        "No rankings are found in it: neither ranks or scores beside responses, nor a verdict on two of them. "
        f"The columns are {names}. If it holds some, name the format and the columns: "
        "--format wide --prompt-field … --response-fields … --rank-fields …, or --format pairs … --choice-field …. "
        "Other shapes are read by `python -m pipeline stage=preferences labeling=file labeling.path=FILE`."
    )


def write(target: Path, rankings: Sequence[Ranking], form: str, overwrite: bool = False) -> None:
    """Write a file of rankings. Tables begin with a mark, so that Excel sees UTF-8.

    Raises LabelingError if the file exists, unless told to overwrite it, or if it cannot be written.
    """
    if target.exists() and not overwrite:
        raise LabelingError(f"{target} exists. Choose another name, or say --overwrite.", fault="request")
    try:
        write_text(target, WRITABLE[form](rankings), "utf-8" if form == "rankings" else "utf-8-sig")
    except UnicodeEncodeError as error:
        half = f"half a surrogate pair ({error.object[error.start]!a}), which a table in UTF-8 cannot hold"
        raise LabelingError(f"A text has {half}. Export it as rankings.", fault="request") from None


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
    """(place, row), and the rows that are none."""
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
    """(place, value): the entries of one JSON document, or one value a line. Raises LabelingError for broken ones."""
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
    """The files themselves, and those in folders that are of a kind that is read. Raises LabelingError for none."""
    found: list[Path] = []
    for source in sources:
        inside = sorted(filter(_is_readable, source.iterdir())) if source.is_dir() else []
        if source.is_dir() and not inside:
            refuse(f"{source} is a folder without a file {', '.join(SUFFIXES)}. {_LOSSY}")
        found += inside or [source]
    return list({file.resolve(): file for file in found}.values())  # a file that is named twice counts once


def _is_readable(file: Path) -> bool:
    """Whether a file in a folder is of a kind that is read: hidden ones and ledgers are not."""
    hidden = file.name.startswith(".") or file.name.endswith(".ledger.jsonl")
    return file.suffix.lower() in SUFFIXES and not hidden
