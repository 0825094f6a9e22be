"""Files of other kinds, as libraries really write them, are told by their first bytes in every reader of text."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard
from openpyxl import Workbook

from labeling.backend import LabelingError
from labeling.exchange import read
from labeling.signatures import way_out
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError

TEXT = b'{"id": "1", "prompt": "\xc3\xb6"}\n' * 20
TABLE = pyarrow.table({"prompt": ["ö"] * 20})


def archived(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", TEXT)


WRITTEN: dict[str, Callable[[Path], object]] = {
    "gunzip": lambda path: path.write_bytes(gzip.compress(TEXT)),
    "unzstd": lambda path: path.write_bytes(zstandard.compress(TEXT)),
    "zip file": archived,
    "spreadsheet": lambda path: Workbook().save(path),
    "parquet": lambda path: pyarrow.parquet.write_table(TABLE, path),
    "iconv -f UTF-16": lambda path: path.write_bytes(TEXT.decode().encode("utf-16")),
    "UTF-16": lambda path: path.write_bytes(b"\xfe\xff" + TEXT.decode().encode("utf-16-be")),
}


@pytest.mark.parametrize("word", WRITTEN)
def test_each_reader_names_the_kind_and_the_way_out(tmp_path: Path, word: str) -> None:
    path = tmp_path / "rows"
    WRITTEN[word](path)
    assert word in way_out(path.read_bytes()[:16])
    with pytest.raises(LabelingError, match=word):
        read(path)
    with pytest.raises(RequestError, match=word):
        read_jsonl(path)


def test_plain_text_is_no_other_kind() -> None:
    assert way_out(TEXT) == way_out(b"\xef\xbb\xbf" + TEXT) == way_out(b"") == ""
