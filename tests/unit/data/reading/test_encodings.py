"""Compression, encodings and binary files."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from pipeline.data.reading.encodings import encoding_of
from pipeline.data.reading.files import BrokenRow, RawRow, read_rows
from pipeline.errors import RequestError

ROWS = [{"prompt": f"Frage {index}", "completion": "größer – schön"} for index in range(2000)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
GZIP, ZSTD = gzip.compress(LINES.encode()), zstandard.ZstdCompressor().compress(LINES.encode())


def written(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def fields(file: Path) -> list[object]:
    return [row.fields if isinstance(row, RawRow) else row.fault.reason for row in read_rows(file)]


@pytest.mark.parametrize(
    "content",
    [
        GZIP,
        ZSTD,
        b"".join(gzip.compress(line.encode()) for line in LINES.splitlines(keepends=True)),
        ZSTD[:0].join(zstandard.ZstdCompressor().compress(part.encode()) for part in LINES.partition("\n")),
        zstandard.ZstdCompressor().stream_reader(io.BytesIO(LINES.encode())).read(),
    ],
    ids=["gzip", "zstd", "gzip members", "zstd frames", "zstd stream"],
)
def test_compressed_files_need_no_suffix(tmp_path: Path, content: bytes) -> None:
    assert fields(written(tmp_path, content)) == ROWS


def test_parquet_that_was_compressed_again(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    assert fields(written(tmp_path, gzip.compress(sink.getvalue()))) == ROWS


@pytest.mark.parametrize("packed", [GZIP, ZSTD], ids=["gzip", "zstd"])
def test_compressed_files_that_are_damaged_or_cut_off(tmp_path: Path, packed: bytes) -> None:
    middle = len(packed) // 2
    flipped = packed[:middle] + bytes(byte ^ 0x55 for byte in packed[middle : middle + 9]) + packed[middle + 9 :]
    for content in (packed[:-1], packed[:-9], packed[:middle], packed[:12], flipped, packed + b"garbage"):
        file = written(tmp_path, content)
        with pytest.raises(RequestError, match=r"rows\.jsonl is compressed, and damaged or cut off: .*again"):
            list(read_rows(file))


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_unicode_in_any_form(tmp_path: Path, codec: str, end: str) -> None:
    file = written(tmp_path, LINES.replace("\n", end).encode(codec))
    assert encoding_of(file) == codec.removesuffix("-sig")
    assert fields(file) == ROWS


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1252", "Die größte Überraschung – Straße für Fußgänger"),
        ("cp1252", "L’été, les élèves allèrent déjà à la forêt"),
        ("cp1252", "El niño comió mañana, ¿qué pasó después?"),
        ("cp1250", "Zażółć gęślą jaźń, proszę się uśmiechać"),
        ("cp1251", "Съешь же ещё этих мягких французских булок"),
        ("gb18030", "你好，世界。今天天气很好，我们去公园散步吧。"),
        ("cp932", "こんにちは、世界。今日は天気がいいですね。"),
    ],
)
@pytest.mark.parametrize("before", [0, 3000])
def test_other_encodings_are_found_and_named(tmp_path: Path, codec: str, text: str, before: int) -> None:
    rows = [{"a": "plain " * 10}] * before + [{"a": text}] * 3
    file = written(tmp_path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(codec))
    assert encoding_of(file) == codec
    assert fields(file) == rows


def test_one_umlaut_in_a_short_file(tmp_path: Path) -> None:
    file = written(tmp_path, '{"a": 1}\n{"b": "größer"}\n'.encode("latin-1"))
    assert encoding_of(file) == "cp1252"
    assert fields(file) == [{"a": 1}, {"b": "größer"}]


@pytest.mark.parametrize("rest", ["größer", "plain"])
def test_a_broken_byte_far_down_breaks_one_row(tmp_path: Path, rest: str) -> None:
    lines = [json.dumps({"a": rest}, ensure_ascii=False).encode()] * 3000
    lines[2000] = b'{"a": "x\xfc"}'
    file = written(tmp_path, b"\n".join(lines))
    assert encoding_of(file) == "utf-8"
    rows = list(read_rows(file))
    (broken,) = [row for row in rows if isinstance(row, BrokenRow)]
    assert len(rows) == 3000
    assert (broken.place.line, broken.fault.field, broken.fault.reason) == (2001, "column 9", "not UTF-8")
    assert broken.text == '{"a": "x\ufffd"}'


def test_a_broken_byte_in_a_document_breaks_one_item(tmp_path: Path) -> None:
    text = json.dumps(ROWS, ensure_ascii=False, indent=1).encode()
    rows = list(read_rows(written(tmp_path, text.replace(b'Frage 7"', b'Frage \xff7"'))))
    assert [row.place.item for row in rows if isinstance(row, BrokenRow)] == [7]
    assert len(rows) == len(ROWS)


def test_utf16_that_ends_within_a_character(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"rows\.jsonl begins as utf-16 but cannot be read so to its end.*cut off"):
        fields(written(tmp_path, LINES.encode("utf-16")[:-1]))


def archive(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    return stream.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())])) as writer:
        writer.write_table(pa.table({"a": [1]}))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is an image"),
        (archive("rows.json"), "is a zip archive.*unzip"),
        (archive("[Content_Types].xml"), "is an Excel or Word file.*CSV"),
        *((pickle.dumps(ROWS, protocol), "pickle, which is never opened") for protocol in (2, 3, 4, 5)),
        (b"BZh91AY&SY", "bzip2.*bunzip2"),
        (b"\xfd7zXZ\0\0\4", "xz.*unxz"),
        (gzip.compress(GZIP), "compressed twice"),
        (b"SQLite format 3\0", "SQLite"),
        (bytes(range(256)) * 20, "neither text nor parquet"),
    ],
)
def test_what_is_no_text_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    file = written(tmp_path, content)
    for look in (read_rows, encoding_of):
        with pytest.raises(RequestError, match=rf"rows\.jsonl .*{message}"):
            look(file)
