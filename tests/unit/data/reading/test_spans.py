"""Spans of files: each row is in exactly one part of the data, in order, and with its line in the whole file."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.reading.files import can_be_cut, read_rows, read_span
from pipeline.data.reading.spans import Span, lines_before, spans_of

LINE = st.sampled_from(
    ['{"a": 1}', '{"a": "ü"}', '{"a": 1} {"a": 2}', "broken", "", "  ", '{"long": "' + "x" * 90 + '"}']
)
END = st.sampled_from(["\n", "\n", "\r\n", "\r"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """JSON lines with broken, blank and joined ones, and every kind of line end."""
    ended = "".join(draw(LINE) + draw(END) for _ in range(draw(st.integers(0, 12))))
    return '{"a": 0}\n{"a": 0}\n{"a": 0}\n' + ended + draw(st.sampled_from(["", '{"last": 1}']))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(texts(), min_size=1, max_size=4), count=st.integers(1, 9))
def test_the_spans_of_all_parts_hold_the_rows_of_the_files(tmp_path: Path, several: list[str], count: int) -> None:
    files = []
    for number, text in enumerate(several):
        files.append(tmp_path / f"{number}.jsonl")
        files[-1].write_bytes(text.encode())
    parts = [spans_of(files, number, count, can_be_cut) for number in range(1, count + 1)]
    found = [row for part in parts for spans in part for span in spans for row in read_span(span)]
    assert list(map(repr, found)) == [repr(row) for file in files for row in read_rows(file)]


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8), count=st.integers(1, 12))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_cannot_be_cut_is_in_one_part_and_files_keep_their_order(
    tmp_path: Path, sizes: list[int], count: int
) -> None:
    files = [tmp_path / str(number) for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(b"x" * size)
    parts = [spans_of(files, number, count, lambda file: False) for number in range(1, count + 1)]
    found = [span for part in parts for spans in part for span in spans]
    assert found == [Span(file) for file in files]


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (b'{"a": 1}\n{"a": 2}\n', True),
        (b'{"a": 1}\n', False),  # a document
        (b'[{"a": 1},\n{"a": 2}]\n', False),
        (b"a,b\n1,2\n3,4\n", False),
        (gzip.compress(b'{"a": 1}\n{"a": 2}\n', mtime=0), False),
        ('{"a": 1}\n{"a": "ü"}\n'.encode("utf-16"), False),
    ],
)
def test_only_plain_json_lines_can_be_cut(tmp_path: Path, content: bytes, cut: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert can_be_cut(file) == cut


def test_parts_of_json_lines_are_of_equal_size(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n' * 1000)
    spans = [spans_of([file], number, 4, can_be_cut)[0][0] for number in range(1, 5)]
    assert [(span.start, span.end) for span in spans] == [(0, 2250), (2250, 4500), (4500, 6750), (6750, None)]
    assert [lines_before(span) for span in spans] == [0, 250, 500, 750]
