"""Import and export: what goes out comes back, and everything that is wrong with a file is said at once."""

import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.__main__ import main
from labeling.backend import LabelingError
from labeling.exchange import Columns, Faults, read
from labeling.exchange.columns import AS_THEY_ARE
from labeling.exchange.files import format_of
from labeling.exchange.jsonlines import rankings_text, read_rankings
from labeling.exchange.judgements import merge
from labeling.exchange.tables import neutralised, read_long, read_wide, restored, write_long, write_wide
from labeling.records import Ranking, Ranks

texts = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "=cmd|' /C calc'!A0",
        "'=1",
        "''+1",
        "'hello",
        "a,b;c\td",
        'say "no"',
        "one\ntwo\r\nthree\rfour",
        "@x",
        "-",
        "é猫😀",
    ]
)
filled = texts.filter(str.strip)
prompts = filled | st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}),
    min_size=1,
    max_size=3,
)


@st.composite
def rankings_strategy(draw) -> list[Ranking]:
    rankings = []
    for name in draw(st.lists(filled, unique=True, min_size=1, max_size=4)):
        responses = draw(st.lists(texts, min_size=2, max_size=4))
        rows = []
        for annotator in draw(st.lists(filled, unique=True, max_size=3)):
            ranks = draw(st.lists(st.integers(1, 4), min_size=len(responses), max_size=len(responses)))
            row = Ranks(annotator=annotator, ranks=ranks)
            if comment := draw(texts):
                row["comment"] = comment
            if draw(st.booleans()):
                row["both_bad"] = True
            if guidelines := draw(st.sampled_from(["", "3f2a"])):
                row["guidelines"] = guidelines
            rows.append(row)
        rankings.append(Ranking(id=name, prompt=draw(prompts), responses=responses, rankings=rows))
    return rankings


def again(reading, text: str) -> list[Ranking]:
    faults = Faults("x")
    rankings = merge(reading(text, faults), faults)
    faults.raise_any()
    return rankings


@given(rankings_strategy())
def test_every_format_gives_back_the_same_rankings(rankings):
    lines = rankings_text(rankings)
    rows = [(f"line {n}", json.loads(line)) for n, line in enumerate(lines.split("\n")[:-1])]
    assert again(lambda _, faults: read_rankings(rows, faults), lines) == rankings
    assert again(lambda text, faults: read_wide(text, Columns(), faults), write_wide(rankings)) == rankings
    assert again(lambda text, faults: read_long(text, Columns(), faults), write_long(rankings)) == rankings


@given(texts)
def test_no_cell_begins_as_a_formula_and_every_text_comes_back(text):
    cell = neutralised(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")
    assert restored(cell) == text


@given(rankings_strategy())
def test_a_table_has_a_header_of_its_own_and_no_formula(rankings):
    for text, columns in ((write_wide(rankings), 12), (write_long(rankings), 10)):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert rows[0][:7] == ["id", "prompt", "messages", "annotator", "comment", "both_bad", "guidelines"]
        assert len(rows[0]) >= columns
        assert all(len(row) == len(rows[0]) for row in rows)
        assert not any(cell[:1] in ("=", "+", "-", "@") for row in rows for cell in row)


RANKINGS: list[Ranking] = [
    {
        "id": "a",
        "prompt": [
            {"role": "user", "content": "Hi?"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "=2"},
        ],
        "responses": ["one, two", "=1+1", "drei\nvier"],
        "rankings": [
            {"annotator": "ann", "ranks": [1, 1, 3], "comment": "first, and second"},
            {"annotator": "bob", "ranks": [1, 1, 2]},
        ],
    },
    {"id": "b", "prompt": "Und?", "responses": ["x", "x"], "rankings": []},
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rankings.jsonl"
    path.write_text(rankings_text(RANKINGS), encoding="utf-8")
    return path


@pytest.mark.parametrize("arguments", [["table.csv"], ["table.csv", "--format", "long"], ["copy.jsonl"]])
def test_the_commands_bring_a_file_out_and_back(source, tmp_path, arguments, capsys):
    target, back = tmp_path / arguments[0], tmp_path / "back.jsonl"
    assert main(["export", str(source), "--to", str(target), *arguments[1:]]) == 0
    assert main(["import", str(target), "--to", str(back)]) == 0
    assert back.read_bytes() == source.read_bytes()
    assert "2 rankings of 2 prompts by 2 annotators" in capsys.readouterr().out
    if target.suffix == ".csv":
        assert target.read_bytes().startswith(b"\xef\xbb\xbfid,prompt,")


def test_a_file_that_is_there_is_overwritten_only_when_told_to(source, tmp_path, capsys):
    target = tmp_path / "t.csv"
    target.write_text("precious")
    assert main(["export", str(source), "--to", str(target)]) == 2
    assert target.read_text() == "precious"
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(source), "--to", str(target), "--overwrite"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["rankings.jsonl", "t.csv"]


def imported(tmp_path, text: str, columns: Columns = AS_THEY_ARE, name: str = "in.csv", form: str | None = None):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read(path, form, columns)


def test_a_long_table_of_a_spreadsheet_with_its_own_names(tmp_path):
    """Semicolons, ranks as 1.0, no ids, answers in any order: known by their text."""
    text = "frage;antwort;platz;wer\nWie?;so;1.0;x\nWie?;anders;2.0;x\nWie?;anders;1;y\nWie?;so;1;y\n"
    columns = Columns(prompt="frage", responses=("antwort",), ranks=("platz",), annotator="wer")
    (ranking,) = imported(tmp_path, text, columns, form="long")
    assert ranking["responses"] == ["so", "anders"]
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2], [1, 1]]


def test_a_wide_table_with_its_own_names(tmp_path):
    text = "q,a,b,ra,rb,who,why\nHow?,so,other,2,1,x,better\nHow?,so,other,1,1,y,\n"
    columns = Columns(prompt="q", responses=("a", "b"), ranks=("ra", "rb"), annotator="who", comment="why")
    (ranking,) = imported(tmp_path, text, columns, form="wide")
    assert ranking["rankings"] == [
        {"annotator": "x", "ranks": [2, 1], "comment": "better"},
        {"annotator": "y", "ranks": [1, 1]},
    ]


def test_every_fault_of_a_table_is_said_with_row_field_and_reason(tmp_path):
    text = (
        "id,prompt,annotator,response_1,rank_1,response_2,rank_2\n"
        "a,Hi?,x,one,1,two,2\n"
        "a,Hi?,x,one,1,two,2\n"  # twice
        "b,,x,one,1,two,2\n"  # no prompt
        "c,Hi?,x,one,first,two,0\n"  # no ranks
        "d,Hi?,,one,1,two,2\n"  # nobody
        "a,Hi?,y,one,1,three,2\n"  # other responses
        "e,Hi?,x,one,1,,\n"  # one response
        "f,Hi?,x,one,1,two,2,extra\n"
    )
    with pytest.raises(LabelingError) as caught:
        imported(tmp_path, text)
    assert caught.value.fault == "request"
    said = str(caught.value)
    assert "has 8 faults; nothing was written" in said
    for place, field in [
        ("row 3", "annotator"), ("row 4", "prompt"), ("row 5", "rank_1"), ("row 5", "rank_2"), ("row 6", "annotator"),
        ("row 7", "id"), ("row 8", "ranks"), ("row 9", "row"),
    ]:  # fmt: skip
        assert f"in.csv, {place}, {field}: " in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,annotator,response,rank\nHi?,x,one,1\nHi?,x,one,2\n", "a text occurs twice"),
        ("prompt,annotator,response,rank\nHi?,x,one,1\nHi?,x,two,2\nHi?,y,one,1\n", "no rank for 'two'"),
        ("prompt,annotator,slot,response,rank\nHi?,x,1,one,1\nHi?,x,zwei,two,1\n", "row 3, slot: "),
        ("id,prompt,annotator,response,rank\na,Hi?,x,one,1\na,Ho?,x,two,2\n", "another prompt at row 2"),
        ("annotator,response,rank\nx,one,1\n", "row 1, prompt: there is no such column"),
        ("prompt,annotator,response,rank,rank\n", "occurs twice"),
        ('prompt,annotator,response,rank\n"Hi?,x,one,1\n', "quotes"),
        ("a,b\n1,2\n", "neither JSON nor a table"),
        ("", "is empty"),
        ("prompt,annotator,response,rank\n", "has no rankings"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, text, message):
    with pytest.raises(LabelingError, match=message):
        imported(tmp_path, text)


def test_every_fault_of_json_lines_is_said(tmp_path):
    rows = [
        '{"id": "a", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "n", "ranks": [1, 2.5]}]}',
        '{"id": 3, "prompt": [], "responses": "x", "rankings": {}}',
        "{broken",
        "[1]",
        '{"id": "b", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "", "ranks": 1, "comment": 2}]}',  # noqa: E501
        '{"id": "c", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "n", "ranks": [1]}]}',
    ]
    with pytest.raises(LabelingError) as caught:
        imported(tmp_path, "\n".join(rows), name="in.jsonl")
    said = str(caught.value)
    assert "has 11 faults" in said
    for line, field in [
        (1, "ranks"), (2, "id"), (2, "prompt"), (2, "responses"), (2, "rankings"), (3, "line"), (4, "row"),
        (5, "rankings[0].annotator"), (5, "rankings[0].ranks"), (5, "rankings[0].comment"), (6, "ranks"),
    ]:  # fmt: skip
        assert f"line {line}, {field}: " in said


def test_a_faulty_import_writes_nothing_and_ends_with_status_2(tmp_path, capsys):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(rankings_text(RANKINGS) + "{}\n")
    assert main(["import", str(source), "--to", str(target)]) == 2
    assert os.listdir(tmp_path) == ["in.jsonl"]
    assert "line 3, prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1....", "parquet.*lost the ranks.*--dataset"),
        (b"\xff\xfei\x00d", "UTF-16"),
        ("id,prompt\nä".encode("latin-1"), "line 2: not UTF-8"),
        (
            b'[{"id": "1", "fields": {"prompt": "x"}, "responses": {"r": [{"value": ["a"]}]}}]',
            "lost the ranks.*--dataset",
        ),
        (b"[1, 2", "not valid JSON"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path, data, message):
    path = tmp_path / "in"
    path.write_bytes(data)
    with pytest.raises(LabelingError, match=message) as caught:
        read(path)
    assert caught.value.fault == "request"


def test_a_missing_file_a_folder_and_a_full_disk_are_said(tmp_path, source, capsys):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(LabelingError) as caught:
            read(path)
        assert caught.value.fault == "request"
    assert main(["export", str(source), "--to", "/proc/none/t.csv"]) == 1
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "x"],
        ["a", "--dataset", "b", "--to", "x"],
        ["--dataset", "b", "--to", "x"],
        ["a", "--to", "x", "--format", "xml"],
    ],
)
def test_requests_that_say_too_little_are_refused(arguments):
    assert main(["import", *arguments]) == 2


def test_the_text_that_an_instruction_is_about_is_not_lost(tmp_path):
    rankings = [{"annotator": "n", "ranks": [1, 2]}]
    asked = [
        {"prompt": "Shorten this.", "input": "A long text."},
        {"prompt": "", "input": "Only this."},
        {"prompt": [{"role": "user", "content": "Shorten this."}], "input": "A long text."},
        {"prompt": "Only that.", "input": ""},
    ]
    lines = [json.dumps({**row, "responses": ["x", "y"], "rankings": rankings}) for row in asked]
    assert [row["prompt"] for row in imported(tmp_path, "\n".join(lines), name="in.jsonl")] == [
        "Shorten this.\n\nA long text.",
        "Only this.",
        [{"role": "user", "content": "Shorten this.\n\nA long text."}],
        "Only that.",
    ]
    table = "prompt,input,annotator,response_1,rank_1,response_2,rank_2\nShorten.,A text.,n,x,1,y,2\n"
    assert imported(tmp_path, table)[0]["prompt"] == "Shorten.\n\nA text."


def test_half_a_surrogate_pair_is_kept_in_json_lines_and_refused_in_a_table(tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    odd: Ranking = {**RANKINGS[0], "responses": ["\ud83d", "b", "c"]}
    source.write_text(rankings_text([odd]))
    assert main(["import", str(source), "--to", str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    assert main(["export", str(source), "--to", str(tmp_path / "out.csv")]) == 2
    assert "surrogate" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_the_format_is_found_out_from_the_content(source, tmp_path):
    text = source.read_text(encoding="utf-8")
    assert format_of(source, text) == "rankings"
    assert format_of(source, json.dumps([json.loads(line) for line in text.splitlines()])) == "rankings"
    assert format_of(source, write_wide(RANKINGS)) == "wide"
    assert format_of(source, write_long(RANKINGS).replace(",", ";", 9)) == "long"
    assert format_of(source, '[{"id": 1, "data": {}, "annotations": []}]') == "label-studio"
