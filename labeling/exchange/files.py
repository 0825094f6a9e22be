"""Files of rankings: which format they are in, read as a whole, written whole or not at all."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labeling.backend import LabelingError
from labeling.exchange.columns import AS_THEY_ARE, Columns
from labeling.exchange.faults import Faults
from labeling.exchange.jsonlines import rankings_text, read_rankings
from labeling.exchange.judgements import merge
from labeling.exchange.label_studio import looks_like, read_label_studio
from labeling.exchange.tables import read_long, read_wide, write_long, write_wide
from labeling.records import Ranking

FORMATS = ("rankings", "wide", "long", "label-studio")
WRITABLE = {"rankings": rankings_text, "wide": write_wide, "long": write_long}

_SIGNATURES = {
    b"PAR1": "It is a parquet file. Write it as .csv or .jsonl, unless Argilla's client wrote it.",
    b"\x1f\x8b": "It is compressed with gzip: unpack it with `gunzip`.",
    b"PK\x03\x04": "It is a spreadsheet or a zip file: save it as CSV in UTF-8.",
    b"\xff\xfe": "It looks like UTF-16: save it as CSV in UTF-8.",
    b"\xfe\xff": "It looks like UTF-16: save it as CSV in UTF-8.",
}
_LOSSY = (
    "What Argilla's client writes to disk has lost the ranks: it keeps the order of the options, so every answer that "
    "was given in Argilla's page would read as first > second > third, without ties (argilla issue 5677). Import from "
    "the server instead: python -m labeling import --dataset NAME --workspace WS --to rankings.jsonl"
)


def read(source: Path, form: str | None = None, columns: Columns = AS_THEY_ARE) -> list[Ranking]:
    """All rankings of a file. Raises `LabelingError` (request) with every fault in it."""
    text = _text(source)
    form = form or format_of(source, text)
    faults = Faults(str(source))
    if form == "wide":
        judgements = list(read_wide(text, columns, faults))
    elif form == "long":
        judgements = list(read_long(text, columns, faults))
    else:
        rows = _objects(text, faults)
        if any(_is_argilla(row) for _, row in rows):
            raise LabelingError(f"{source}: {_LOSSY}", fault="request")
        reading = read_label_studio(rows, columns, faults) if form == "label-studio" else read_rankings(rows, faults)
        judgements = list(reading)
    rankings = merge(judgements, faults)
    faults.raise_any()
    if not rankings:
        raise LabelingError(f"{source} has no rankings (read as {form}).", fault="request")
    return rankings


def format_of(source: Path, text: str) -> str:
    """The format that the content shows. Raises `LabelingError` (request) if it shows none."""
    if text.lstrip()[:1] in ("{", "["):
        rows = _objects(text, Faults(str(source)))
        return "label-studio" if rows and looks_like(rows[0][1]) else "rankings"
    header = text.partition("\n")[0].lower()
    for delimiter in ",;\t":
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if {"response", "rank"} <= set(names):
            return "long"
        if {"response_1", "rank_1"} <= set(names):
            return "wide"
    raise LabelingError(
        f"{source}: neither JSON nor a table with the columns response and rank, or response_1, rank_1, … "
        "Name its format and columns: --format wide --prompt-field … --response-fields … --rank-fields …",
        fault="request",
    )


def write(target: Path, rankings: Sequence[Ranking], form: str, overwrite: bool = False) -> None:
    """Write a file of rankings under a temporary name, then rename. Tables begin with a mark, so that Excel sees UTF-8.

    Raises `LabelingError` if the file exists, unless told to overwrite it, or if it cannot be written.
    """
    if target.exists() and not overwrite:
        raise LabelingError(f"{target} exists. Choose another name, or say --overwrite.", fault="request")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        data = WRITABLE[form](rankings).encode("utf-8" if form == "rankings" else "utf-8-sig")
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except UnicodeEncodeError as error:
        half = f"half a surrogate pair ({error.object[error.start]!a}), which a table in UTF-8 cannot hold"
        raise LabelingError(f"A text has {half}. Export it as rankings.", fault="request") from None
    except OSError as error:
        raise LabelingError(
            f"{target} could not be written: {error.strerror}. Check the free space and the permissions of "
            f"{target.parent}."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _text(source: Path) -> str:
    try:
        if source.is_dir():
            raise LabelingError(f"{source} is a folder, a file was expected. {_LOSSY}", fault="request")
        data = source.read_bytes()
    except OSError as error:
        raise LabelingError(f"{source} could not be read: {error.strerror}. Check the path.", fault="request") from None
    hint = next((said for start, said in _SIGNATURES.items() if data.startswith(start)), "")
    try:
        if hint:
            raise LabelingError(f"{source}: {hint}{' ' + _LOSSY if 'parquet' in hint else ''}", fault="request")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelingError(
            f"{source}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). Save it in UTF-8.", fault="request"
        ) from None
    if not text.strip():
        raise LabelingError(f"{source} is empty.", fault="request")
    return text


def _objects(text: str, faults: Faults) -> list[tuple[str, Any]]:
    """(place, object): the entries of one JSON document, or one object a line."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            faults.add(f"line {getattr(error, 'lineno', 1)}", "file", f"not valid JSON ({error})")
            return []
    else:
        entries = whole if isinstance(whole, list) else [whole]
        return [(f"entry {number}", entry) for number, entry in enumerate(entries, start=1)]
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # a text may hold U+2028, at which splitlines would cut
        if line.strip():
            try:
                rows.append((f"line {number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                faults.add(f"line {number}", "line", f"not valid JSON ({error})")
    return rows


def _is_argilla(row: object) -> bool:
    """A record as Argilla's client writes it: fields, and responses by question."""
    return isinstance(row, dict) and isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), dict)
