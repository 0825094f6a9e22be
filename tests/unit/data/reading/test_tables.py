"""CSV, TSV and parquet: detection by content, rows with their places, and faults of records."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.fields import text_in
from pipeline.data.ledger import Ledger
from pipeline.data.reading.files import BrokenRow, RawRow, read_rows
from pipeline.errors import RequestError


def read(folder: Path, content: bytes | str, name: str = "rows.json") -> list[RawRow | BrokenRow]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(file))


def fields(rows: list[RawRow | BrokenRow]) -> list[Any]:
    return [row.fields if isinstance(row, RawRow) else row.fault.reason for row in rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_cells_may_hold_delimiters_quotes_and_line_breaks(tmp_path: Path, delimiter: str, end: str) -> None:
    lines = ["prompt|completion", '"a, b; c\td"|"say ""hi"""', "", f'"one{end}two"|', "x|y", ""]
    rows = read(tmp_path, end.join(lines).replace("|", delimiter))
    assert [row.place.line for row in rows] == [2, 4, 6]
    assert fields(rows) == [
        {"prompt": "a, b; c\td", "completion": 'say "hi"'},
        {"prompt": f"one{end}two", "completion": ""},
        {"prompt": "x", "completion": "y"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Frage;Antwort\nWas ist das?;Ein Hund, glaube ich\nUnd das?;Eine Katze\n",
        "Frage,Antwort\nWas ist das?,Ein Hund\n",
        "\ufeffprompt, completion\nwhat, that\n",
        "id\tprompt\tanswer\n1\t\n",
    ],
)
def test_a_table_is_told_from_its_header(tmp_path: Path, text: str) -> None:
    rows = read(tmp_path, text, "rows.txt")
    assert not any(isinstance(row, RawRow) and "text" in row.fields for row in rows)
    assert all("\t" in text or isinstance(row, RawRow) for row in rows)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, my friend\nI came, I saw\nand then, I left\n",
        "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n",
        "Dear Sir;\nyours; truly\n",
        "It costs 1,000 dollars\nor 2,000 euros\n",
        "One line, and no more",
    ],
)
def test_prose_with_commas_is_no_table(tmp_path: Path, text: str) -> None:
    assert all(list(row.fields) == ["text"] for row in read(tmp_path, text, "rows.csv") if isinstance(row, RawRow))


def test_records_that_do_not_fit_the_header_are_broken_rows(tmp_path: Path) -> None:
    rows = read(tmp_path, 'prompt,answer\na\nb,c,d\n"e"f,g\nh,"i\x00"\nj,k\n')
    assert [row.place.line for row in rows] == [2, 3, 4, 5, 6]
    assert fields(rows) == [
        "the row has fewer cells than the header",
        "the row has more cells than the header",
        "quotes are misplaced: ',' expected after '\"'",
        "a NUL byte in the text",
        {"prompt": "j", "answer": "k"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,answer,prompt\na,b,c\n", r"line 1: two columns are named 'prompt'"),
        (",prompt,answer\n0,b,c\n", r"line 1: a column of the header has no name.*index=False"),
        ("prompt,answer\n", r"holds no rows, only a header"),
        ('prompt,answer\na,b\nc,"d\ne,f\n', r"line 3: .*a quote in the row that starts here never closes"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=rf"rows\.json.*{message}"):
        read(tmp_path, text)


def test_cells_of_any_length(tmp_path: Path) -> None:
    (row,) = fields(read(tmp_path, f"prompt,answer\na,{'x' * 500_000}\n"))
    assert len(row["answer"]) == 500_000


def test_a_row_that_the_look_ahead_cuts_is_still_a_row(tmp_path: Path) -> None:
    long = '"' + "wort\n" * 9000 + '"'
    rows = read(tmp_path, f"Frage,Antwort\n{long},a\n{long},b\n", "rows.txt")
    assert [row["Antwort"] for row in fields(rows)] == ["a", "b"]
    assert [row.place.line for row in rows] == [2, 9003]


def test_cells_are_always_text(tmp_path: Path) -> None:
    cell = json.dumps([{"role": "user", "content": "q"}])
    rows = read(tmp_path, 'id,messages\n1,"' + cell.replace('"', '""') + '"\n', "rows.csv")
    assert fields(rows) == [{"id": "1", "messages": cell}]


def parquet(folder: Path, table: pa.Table, name: str = "rows.csv") -> Path:
    pq.write_table(table, folder / name, row_group_size=100)
    return folder / name


def test_parquet_under_any_name(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"q{index}"}], "n": index} for index in range(1500)]
    found = list(read_rows(parquet(tmp_path, pa.Table.from_pylist(rows))))
    assert fields(found) == rows
    assert [row.place.line for row in found] == list(range(1, 1501))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"\xff", "binary data"),
        (datetime.datetime(2024, 1, 2), "a time"),
        (datetime.date(2024, 1, 2), "a date"),
        (datetime.timedelta(1), "a timedelta"),
        (Decimal("1.5"), "a number"),
    ],
)
def test_cells_that_are_no_text_say_what_they_are(tmp_path: Path, value: object, name: str) -> None:
    (row,) = read_rows(parquet(tmp_path, pa.table({"text": [value]})))
    assert isinstance(row, RawRow)
    with pytest.raises(BadRow, match=f"text is expected, found {name}") as caught:
        text_in(row.fields["text"], "text")
    assert Ledger().drop(row.place, caught.value, row.fields).excerpt.startswith('{"text": ')


def test_parquet_that_is_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path, pa.table({"a": list(range(1000))})).read_bytes()
    for damaged in (whole[:-10], whole[:100], b"PAR1", b"PAR1" + whole[500:]):
        with pytest.raises(RequestError, match=r"rows\.parquet is parquet, but damaged"):
            read(tmp_path, damaged, "rows.parquet")
    with pytest.raises(RequestError, match=r"two columns are named 'a'"):
        list(read_rows(parquet(tmp_path, pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))))
    with pytest.raises(RequestError, match="holds no rows"):
        list(read_rows(parquet(tmp_path, pa.table({"a": pa.array([], pa.int64())}))))
