"""The same rows, written in any form, are the same rows when they are read."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.formats.printed import unprinted
from pipeline.data.reading.files import RawRow, encoding_of, read_rows
from tests.examples import at_most

Rows = list[dict[str, Any]]

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
TURNS = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT}), min_size=1)
ROW = st.fixed_dictionaries({"prompt": TEXT.filter(lambda text: text.strip()[:1] not in ("[", "{")), "messages": TURNS})
ROWS = st.lists(ROW, min_size=1, max_size=6)


def json_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array(rows: Rows) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def stream(rows: Rows) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False, indent=1) for row in rows).encode()


def joined(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() for row in rows)


def table(rows: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "messages"], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows({**row, "messages": json.dumps(row["messages"], ensure_ascii=False)} for row in rows)
    return text.getvalue().encode()


def excel(rows: Rows) -> bytes:
    return table(rows, ";")


def tabs(rows: Rows) -> bytes:
    return table(rows, "\t")


def parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def as_utf16(data: bytes) -> bytes:
    return data.decode().encode("utf-16")


def plain(data: bytes) -> bytes:
    return data


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("packed", [plain, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("form", [json_lines, array, stream, joined, table, excel, tabs, parquet])
@at_most(15)
@given(rows=ROWS)
def test_rows_survive_every_form(
    tmp_path_factory: pytest.TempPathFactory,
    form: Callable[[Rows], bytes],
    packed: Callable[[bytes], bytes],
    rows: Rows,
) -> None:
    assert read(tmp_path_factory.mktemp("rows"), packed(form(rows))) == rows


@pytest.mark.parametrize("form", [json_lines, array, stream, table, excel])
@at_most(15)
@given(rows=ROWS)
def test_rows_survive_utf16(
    tmp_path_factory: pytest.TempPathFactory, form: Callable[[Rows], bytes], rows: Rows
) -> None:
    assert read(tmp_path_factory.mktemp("rows"), as_utf16(form(rows))) == rows


@settings(deadline=None)
@given(rows=ROWS)
def test_utf8_is_taken_for_utf8(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.json"
    file.write_bytes(json_lines(rows))
    assert encoding_of(file) == "utf-8"


def read(folder: Path, content: bytes) -> list[object]:
    file = folder / "rows.csv"
    file.write_bytes(content)
    return [unprinted(row.fields) if isinstance(row, RawRow) else row.fault for row in read_rows(file)]
