"""Arrow files, folders that `save_to_disk` wrote, maps, Excel, and zstd with a long window."""

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.data.reading.files import BrokenRow, RawRow, encoding_of, find_files, read_rows
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, U, said

ROWS = [{"messages": said((U, f"q{n}"), (A, f"a{n}"))} for n in range(1200)]


def fields(file: Path) -> list[dict[str, Any]]:
    return [row.fields for row in read_rows(file) if isinstance(row, RawRow)]


def arrow(indexed: bool, rows: list[dict[str, Any]] = ROWS) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with (pa.ipc.new_file if indexed else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    return sink.getvalue()


@pytest.mark.parametrize("indexed", [True, False])
def test_arrow_as_a_file_and_as_a_stream(tmp_path: Path, indexed: bool) -> None:
    file = tmp_path / "rows.jsonl"  # by what it holds, not by its name
    file.write_bytes(arrow(indexed))
    assert fields(file) == ROWS
    assert [row.place.line for row in read_rows(file)] == list(range(1, 1201))
    assert encoding_of(file) == "utf-8"
    file.write_bytes(zstandard.ZstdCompressor().compress(arrow(indexed)))
    assert fields(file) == ROWS
    file.write_bytes(arrow(indexed)[:3000])
    with pytest.raises(RequestError, match="is Arrow, but damaged"):
        fields(file)


def saved(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(arrow(False, [{"prompt": f"q {name}", "completion": "a"}]))
    listed = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": listed, "_split": None}))
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "description": "", "features": {}}))
    return folder


def test_a_saved_dataset_is_its_rows_in_their_order(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", "data-1.arrow", "data-0.arrow")
    assert [file.name for file in find_files(folder)] == ["data-1.arrow", "data-0.arrow"]
    rows, _, _ = load_demonstrations(folder)
    assert [row["messages"][0]["content"] for row in rows] == ["q data-1.arrow", "q data-0.arrow"]


def test_of_several_splits_one_is_asked_for(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / split, f"{split}.arrow")
    described = tmp_path / "dataset_dict.json"
    described.write_text('{"splits": ["train", "test"]}')
    with pytest.raises(RequestError, match=rf"several splits \(train, test\)\. .*: {tmp_path}/train\."):
        find_files(tmp_path)
    described.write_text('{"splits": ["test"]}')
    assert [file.name for file in find_files(tmp_path)] == ["test.arrow"]
    described.write_text("{")
    with pytest.raises(RequestError, match="cannot be read"):
        find_files(tmp_path)


def test_maps_are_objects(tmp_path: Path) -> None:
    turns = [[("role", "user"), ("content", "q")], [("role", "assistant"), ("content", "a")]]
    table = pa.table({"messages": pa.array([turns], pa.list_(pa.map_(pa.string(), pa.string())))})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert fields(tmp_path / "rows.parquet") == [{"messages": said((U, "q"), (A, "a"))}]


def test_nulls_that_parquet_fills_in_are_no_part_of_tools(tmp_path: Path) -> None:
    def row(name: str, arguments: dict[str, str], property: str) -> dict[str, Any]:
        call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
        turns = [{"role": U, "content": "q", "tool_calls": None}, {"role": A, "content": None, "tool_calls": [call]}]
        parameters = {"type": "object", "properties": {property: {"type": "string"}}}
        answer = [{"role": "tool", "content": "r", "tool_calls": None}, {"role": A, "content": "a", "tool_calls": None}]
        tools = [{"type": "function", "function": {"name": name, "parameters": parameters}}]
        return {"messages": [*turns, *answer], "tools": tools}

    rows = [row("f", {"city": "Ulm"}, "city"), row("g", {"to": "ann"}, "to")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    plain, filled = (load_demonstrations(tmp_path / name)[0] for name in ("rows.jsonl", "rows.parquet"))
    assert plain == filled
    assert "null" not in json.dumps(filled)


def test_zstd_with_any_window_and_frames_that_are_cut_off(tmp_path: Path) -> None:
    text = b'{"a": 1}\n' * 4000
    long = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=long).compressobj()  # whose frame has the whole window
    packed = packer.compress(text) + packer.flush()
    assert zstandard.get_frame_parameters(packed).window_size == 1 << 31
    file = tmp_path / "rows.jsonl.zst"
    file.write_bytes(packed + zstandard.ZstdCompressor().compress(text))
    assert fields(file) == [{"a": 1}] * 8000
    for cut in (1, 5, len(packed) // 2):
        file.write_bytes(packed[:-cut])
        with pytest.raises(RequestError, match="damaged or cut off"):
            fields(file)


def excel(folder: Path, *sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet(f"S{number}")
        for row in rows:
            sheet.append(row)
    book.save(folder / "rows.xlsx")
    return folder / "rows.xlsx"


def test_a_sheet_of_excel(tmp_path: Path) -> None:
    rows = [["prompt", "completion", "when"], ["q\nr", "a", date(2024, 5, 1)], [None, None, None], ["7", 8, None]]
    file = excel(tmp_path, rows, [])
    read = list(read_rows(file))
    assert [row.place.line for row in read] == [2, 4]
    assert fields(file) == [
        {"prompt": "q\nr", "completion": "a", "when": "2024-05-01T00:00:00"},
        {"prompt": "7", "completion": 8, "when": ""},
    ]
    assert encoding_of(file) == "utf-8"


def test_excel_that_is_refused(tmp_path: Path) -> None:
    for sheets, message in (
        (([["a"], ["x"]], [["a"], ["x"]]), r"several sheets \(Sheet, S1\)"),
        (([["a", "b"]],), "only a header"),
        (([],), "is empty"),
        (([["a", "a"], ["x", "y"]],), "two columns are named 'a'"),
        (([["a", None, "b"], ["x", "y", "z"]],), "has no name"),
    ):
        with pytest.raises(RequestError, match=message):
            fields(excel(tmp_path, *sheets))


def test_formulas_without_values_and_cells_without_columns_cost_their_row(tmp_path: Path) -> None:
    read = list(read_rows(excel(tmp_path, [["a", "b"], ["=1+1", "x"], ["y", "z"], ["y", "z", "w"]])))
    assert [row.fault.reason if isinstance(row, BrokenRow) else row.fields for row in read] == [
        "a formula without a value: open the file in Excel and save it, so that its values are written, too",
        {"a": "y", "b": "z"},
        "the row has more cells than the header",
    ]
