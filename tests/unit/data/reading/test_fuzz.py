"""Ten thousand damaged files: each is refused by name, or read with an account of every row."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from pipeline.data.reading.files import BrokenRow, RawRow, encoding_of, read_rows
from pipeline.errors import RequestError

FILES = 10_000
TEXTS = ("plain words", "größer – schön", "你好，世界", 'say "hi"', "one\ntwo", "a, b; c\td", "€ 5", "{[", "")

Damage = Callable[[bytes, random.Random], bytes]


def at(data: bytes, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: at(data, chance)]


def headless(data: bytes, chance: random.Random) -> bytes:
    return data[at(data, chance) :]


def flip(data: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if flipped:
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def insert(*pieces: bytes) -> Damage:
    def inserted(data: bytes, chance: random.Random) -> bytes:
        position = at(data, chance)
        return data[:position] + chance.choice(pieces) + data[position:]

    return inserted


def unquote(data: bytes, chance: random.Random) -> bytes:
    position = data.find(b'"', at(data, chance))
    return data if position < 0 else data[:position] + data[position + 1 :]


def twice(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice([b"", b"\n"]) + data


def recode(data: bytes, chance: random.Random) -> bytes:
    codec = chance.choice(["utf-16", "utf-16-be", "cp1252", "gb18030", "utf-32"])
    return data.decode("utf-8", "ignore").encode(codec, "ignore")


def mixed(data: bytes, chance: random.Random) -> bytes:
    position = at(data, chance)
    return data[:position] + recode(data[position:], chance)


def garbage(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(0, 200))


DAMAGES: tuple[Damage, ...] = (
    *(cut, headless, flip, unquote, twice, recode, mixed, garbage),
    insert(b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\0" * 50, b"\xff", b"\xc3", b"\xed\xa0\x80"),
    insert(b"[" * 10_000, b'{"a":' * 10_000, b"9" * 5000, b"-1e999", b"NaN", b"\\ud800", b"\\u12"),
    insert(b"\n", b"\r", b"\r\n", b"\n\n", b"\x1c", b"\xe2\x80\xa8", b"}", b"]", b","),
)
PACKERS: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, zstandard.ZstdCompressor().compress)


def json_lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array(rows: list[dict[str, object]]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=2).encode()


def table(rows: list[dict[str, object]]) -> bytes:
    return "\n".join(["prompt,answer", *(f'"{row["prompt"]}",{json.dumps(row["answer"])}' for row in rows)]).encode()


def prose(rows: list[dict[str, object]]) -> bytes:
    return "\n\n".join(f"Human: {row['prompt']}\n\nAssistant: {row['answer']}" for row in rows).encode()


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


FORMS = (json_lines, json_lines, array, table, prose, parquet)


def made(chance: random.Random) -> list[dict[str, object]]:
    return [
        {"prompt": chance.choice(TEXTS) * chance.randint(0, 3), "answer": chance.choice(TEXTS), "n": number}
        for number in range(chance.randint(1, 6))
    ]


def attempt(file: Path, content: bytes) -> list[RawRow | BrokenRow] | None:
    """The rows; None if the file was refused by its name."""
    file.write_bytes(content)
    try:
        assert encoding_of(file)
        rows = list(read_rows(file))
    except RequestError as refusal:
        if str(file) not in str(refusal):
            raise
        return None
    assert all(row.place.file == file and row.place.line >= 1 for row in rows)
    assert all(isinstance(row.fields, dict) if isinstance(row, RawRow) else row.fault.reason for row in rows)
    return rows


@pytest.mark.parametrize("part", range(4))
def test_damaged_files_are_refused_by_name_or_read(tmp_path: Path, part: int) -> None:
    chance = random.Random(part)
    outcomes = set()
    for _ in range(FILES // 5):
        content = chance.choice(FORMS)(made(chance))
        for _ in range(chance.randint(1, 2)):
            content = chance.choice(DAMAGES)(content, chance)
        if chance.random() < 0.2:
            content = chance.choice([flip, cut, twice])(chance.choice(PACKERS)(content), chance)
        outcomes.add(attempt(tmp_path / "rows.jsonl", content) is None)
    assert outcomes == {True, False}


def test_every_damaged_line_is_accounted_for(tmp_path: Path) -> None:
    """Read = kept + dropped begins here: as many rows come out as lines that are not blank go in."""
    chance = random.Random(4)
    within = (cut, headless, flip, unquote, *DAMAGES[-3:-1])
    counted = 0
    for _ in range(FILES // 5):
        lines = json_lines(made(chance) + made(chance)).splitlines()
        for _ in range(chance.randint(1, len(lines) // 2)):
            index = chance.randrange(len(lines))
            damaged = chance.choice(within)(lines[index], chance)
            lines[index] = b"".join(damaged.splitlines()) or b"x"
        rows = attempt(tmp_path / "rows.jsonl", b"\n".join(lines))
        if rows is not None:
            counted += 1
            assert [row.place.line for row in rows] == list(range(1, len(lines) + 1))
    assert counted > FILES // 8
