"""Users' files are read by content; faults name the place and the correction."""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.reading.files import BrokenRow, RawRow, find_files, read_rows
from pipeline.data.reading.jsontext import scan_document
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.errors import PipelineError, RequestError

A, B = {"a": 1}, {"b": "zwei\u2028drei"}


def written(folder: Path, content: bytes | str, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(folder: Path, content: bytes | str, name: str = "rows.jsonl") -> list[tuple[int, object, object]]:
    rows = read_rows(written(folder, content, name))
    return [
        (row.place.line, row.place.item, row.fields if isinstance(row, RawRow) else row.fault.reason) for row in rows
    ]


LINES = json.dumps(A) + "\n" + json.dumps(B, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    "content",
    [LINES, "\ufeff" + LINES, LINES.replace("\n", "\r\n"), "\n \n" + LINES, LINES.rstrip()],
    ids=["plain", "byte order mark", "CRLF", "blank lines", "no newline at the end"],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.txt"])
def test_json_lines_under_any_name(tmp_path: Path, content: str, name: str) -> None:
    rows = read(tmp_path, content, name)
    assert [fields for _, _, fields in rows] == [A, B]
    assert [item for _, item, _ in rows] == [None, None]
    assert rows[1][0] - rows[0][0] == 1


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("start", ["", "\ufeff", "\r\n"])
def test_an_array_in_a_file_named_jsonl(tmp_path: Path, indent: int | None, start: str) -> None:
    rows = read(tmp_path, start + json.dumps([A, B], indent=indent))
    assert [(item, fields) for _, item, fields in rows] == [(0, A), (1, B)]


def test_rows_of_a_document_know_their_lines(tmp_path: Path) -> None:
    assert read(tmp_path, '[\n {"a": 1},\n\n {"a":\n 2}\n]') == [(2, 0, A), (4, 1, {"a": 2})]
    assert read(tmp_path, '{\n"id1": {"a": 1},\n"id2": {"a": 2}\n}') == [(2, "id1", A), (3, "id2", {"a": 2})]


def test_an_object_of_values_is_one_row(tmp_path: Path) -> None:
    assert read(tmp_path, '{"instruction": "i",\n "output": "o"}') == [(1, None, {"instruction": "i", "output": "o"})]


def test_rows_under_one_key_are_all_read(tmp_path: Path) -> None:
    assert [fields for _, _, fields in read(tmp_path, '{"x": {"a": 1}, "x": {"a": 2}}')] == [A, {"a": 2}]


def test_a_broken_line_spoils_one_row(tmp_path: Path) -> None:
    rows = list(read_rows(written(tmp_path, '{"a": 1}\n{"a": \n[1]\nnull\n{"a": 1}\n')))
    broken = [row for row in rows if isinstance(row, BrokenRow)]
    assert len(rows) == 5
    assert [(row.place.line, row.fault.field) for row in broken] == [(2, "column 6"), (3, None), (4, None)]
    assert broken[0].fault.reason.startswith("not valid JSON")
    assert broken[1].fault.reason == "not a JSON object"
    assert broken[0].text == '{"a":'


@pytest.mark.parametrize("first", ["{broken", "garbage", "[[", '["x"]', "9" * 5000, "[" * 100_000])
def test_the_first_line_may_be_the_broken_one(tmp_path: Path, first: str) -> None:
    rows = read(tmp_path, first + '\n{"a": 1}\n{"a": 1}\n')
    assert [line for line, _, _ in rows] == [1, 2, 3]
    assert [fields for _, _, fields in rows[1:]] == [A, A]


def test_items_of_an_array_that_are_not_objects_are_broken_rows(tmp_path: Path) -> None:
    rows = list(read_rows(written(tmp_path, '[{"a": 1}, 7, null, ["x"]]')))
    assert [type(row) for row in rows] == [RawRow, BrokenRow, BrokenRow, BrokenRow]


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ('[\n{"a": 1},\n{"a": 2}\n', 4, 1, "Expecting ',' delimiter"),
        ('[\n{"a": 1},\n{"a": ', 3, 7, "Expecting value"),
        ('{\n "a": {"b": "cut', 2, 13, "Unterminated string"),
        ('[{"a": 1}] [{"a": 1}]', 1, 12, "Extra data"),
        ('{\n"a": 1\n}\n{\n"a": 2,\n', 6, 1, "Expecting property name"),
        ("{1: {}}", 1, 2, "double quotes"),
        ("[" * 100_000, 1, 1, "Nested too deeply"),
    ],
)
def test_a_document_that_does_not_parse(tmp_path: Path, content: str, line: int, column: int, message: str) -> None:
    file = written(tmp_path, content, "rows.json")
    with pytest.raises(RequestError) as caught:
        list(read_rows(file))
    text = str(caught.value)
    assert f"{file}, line {line}, column {column}:" in text
    assert message in text
    assert "Give an array of rows, an object of rows keyed by id, or one object per line" in text


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "[]", "{}"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(RequestError, match=r"rows\.jsonl (is empty|holds no rows)\. Give a file with at least one row"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"a": 1}{"a": 2} {"a": 3}', [(1, 0), (1, 1), (1, 2)]),
        ('\n{"a": 1}\n{"a": 2}{"a": 3}\n', [(2, None), (3, 0), (3, 1)]),
        ('{\n "a": 1\n}\n{\n "a": 2}{\n "a": 3}\n', [(1, 0), (4, 1), (5, 2)]),
        ('{\n "a":\n {"b": 1}\n}\n\n{"a": {"b": 2}}\n', [(1, 0), (6, 1)]),
    ],
)
def test_objects_one_after_the_other(tmp_path: Path, text: str, rows: list[tuple[int, object]]) -> None:
    found = read(tmp_path, text)
    assert [(line, item) for line, item, _ in found] == rows
    assert all(isinstance(fields, dict) and list(fields) == ["a"] for _, _, fields in found)


def test_a_long_first_row_that_is_broken_does_not_make_the_file_a_document(tmp_path: Path) -> None:
    rows = read(tmp_path, '{"a": "' + "x" * 200_000 + "\n" + '{"a": 1}\n' * 3)
    assert [line for line, _, _ in rows] == [1, 2, 3, 4]
    assert [fields for _, _, fields in rows[1:]] == [A, A, A]


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_json_lines_that_are_cut_off_lose_their_last_row(tmp_path: Path, rows: int) -> None:
    *whole, (line, _, reason) = read(tmp_path, '{"a": 1}\n' * rows + '{"a": "cu')
    assert [fields for _, _, fields in whole] == [A] * rows
    assert (line, reason) == (rows + 1, "not valid JSON: Unterminated string starting at")


def test_a_byte_order_mark_where_two_files_were_joined(tmp_path: Path) -> None:
    assert [fields for _, _, fields in read(tmp_path, '\ufeff{"a": 1}\n\ufeff{"a": 1}\n')] == [A, A]


def test_files_folders_globs_and_lists(tmp_path: Path) -> None:
    one, two = written(tmp_path, LINES, "b.jsonl"), written(tmp_path, LINES, "a.json")
    written(tmp_path, "not data", "notes.md")
    three = written(tmp_path, LINES, "C.CSV.gz")
    assert find_files(tmp_path) == [three, two, one]
    assert find_files(str(one)) == [one]
    assert find_files(f"{tmp_path}/*.jsonl") == [one]
    assert find_files([one, tmp_path]) == [one, three, two]
    bracketed = written(tmp_path, LINES, "set[1].json")
    assert find_files(bracketed) == [bracketed]


def test_paths_with_nothing_to_read(tmp_path: Path) -> None:
    file = written(tmp_path, LINES, "train.jsonl")
    with pytest.raises(RequestError, match=r"No such file or folder: .*tra1n.jsonl .*Did you mean .*/train.jsonl"):
        find_files(tmp_path / "tra1n.jsonl")
    with pytest.raises(RequestError, match=r"No such file or folder: .*elsewhere/x.json .*Check the path"):
        find_files(tmp_path / "elsewhere" / "x.json")
    with pytest.raises(RequestError, match=r"No file matches .*/\*\.csv .*Check the pattern"):
        find_files(f"{tmp_path}/*.csv")
    with pytest.raises(RequestError, match=r"No data file was named"):
        find_files([])
    file.rename(tmp_path / "train.md")
    with pytest.raises(RequestError, match=r"has no \.json, \.jsonl, .* or \.txt file.*use a glob"):
        find_files(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    file = written(tmp_path, LINES)
    file.chmod(0)
    with pytest.raises(RequestError, match=r"may not be read: Permission denied.*chmod u\+r"):
        list(read_rows(file))


def test_no_permission_even_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = written(tmp_path, LINES)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RequestError, match=r"rows\.jsonl may not be read: Permission denied\. Try `chmod u\+r"):
        list(read_rows(file))


def test_a_folder_where_a_file_belongs(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is a folder, a file was expected"):
        list(read_rows(tmp_path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=8)


@settings(deadline=None)
@given(ROWS)
def test_writing_then_reading_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(file, rows)
    assert read_jsonl(file) == rows
    assert os.listdir(file.parent) == ["rows.jsonl"]


def values_of(text: str) -> list[object]:
    return [item.value for item in scan_document(text)]


@settings(deadline=None)
@given(st.lists(JSON, max_size=6), st.sampled_from([None, 0, 3]), st.booleans())
def test_scanning_finds_what_json_finds(values: list[object], indent: int | None, keyed: bool) -> None:
    document = {str(index): value for index, value in enumerate(values)} if keyed else values
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    assert values_of(text) == values


@settings(deadline=None)
@given(st.text(alphabet='[]{}:,"a1 \n\\'))
def test_scanning_refuses_what_json_refuses(text: str) -> None:
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        expected = None
    if isinstance(expected, list):
        assert values_of(text) == expected
    elif isinstance(expected, dict):
        assert {item.key: item.value for item in scan_document(text)} == expected
    else:
        with pytest.raises(json.JSONDecodeError):
            scan_document(text)


def test_half_a_surrogate_pair_survives_the_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"text": "\ud800 x"}])
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"text": "\ud800 x"}]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = written(tmp_path, LINES)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file may grow beyond this, as on a full disk
    try:
        with pytest.raises(PipelineError, match=r"rows\.jsonl could not be written: .*free space") as caught:
            write_jsonl(file, [A] * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.status == 1
    assert file.read_text() == LINES
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_fault_of_the_rows_is_not_blamed_on_their_file(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield A
        raise OSError(28, "No space left on device")  # of another file, that the rows come from

    with pytest.raises(OSError, match="No space left"):
        write_jsonl(tmp_path / "rows.jsonl", rows())
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"missing/rows\.jsonl could not be written: No such file") as caught:
        write_jsonl(tmp_path / "missing" / "rows.jsonl", [A])
    assert caught.value.status == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a":', r"rows\.jsonl, line 2, column 6: not valid JSON .*create it again"),
        ('{"a": 1}\n\n[1]', r"rows\.jsonl, line 3: not a JSON object. Write one row per line"),
        ('{"a": 1}\n{"b": "ö"}'.encode("latin-1"), r"is not UTF-8: byte 0xf6 at line 2, column 8. .*iconv -f LATIN1"),
        ('{"a": 1}'.encode("utf-16"), r"is not UTF-8: byte 0xff at line 1, column 1. .*iconv -f UTF-16"),
    ],
)
def test_our_own_files_are_read_strictly(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_jsonl(written(tmp_path, content))
