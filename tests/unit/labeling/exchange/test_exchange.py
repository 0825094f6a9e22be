"""Import and export: what goes out comes back, and what cannot be used costs its row, with the reason."""

import csv
import io
import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.__main__ import main
from labeling.backend import LabelingError
from labeling.exchange import UNMAPPED, Columns, form_of, read, read_rows
from labeling.exchange.cells import NO_NAME
from labeling.exchange.jsonlines import rankings_text
from labeling.exchange.tables import escape_formula, read_table, unescape_formula, write_long, write_wide
from labeling.records import Ranking, Ranks
from labeling.votes import is_unnamed, normalized_text, pool, prompt_key

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
names = filled.map(lambda name: " ".join(name.split())).filter(
    lambda name: not is_unnamed(name) and name.lower() not in NO_NAME
)
prompts = filled | st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}),
    min_size=1,
    max_size=3,
)


@st.composite
def rankings_strategy(draw, responses=texts) -> list[Ranking]:
    rankings = []
    asked = draw(st.lists(prompts, unique_by=prompt_key, min_size=1, max_size=4))
    ids = draw(st.lists(filled, unique=True, min_size=len(asked), max_size=len(asked)))
    for name, prompt in zip(ids, asked, strict=True):
        answers = draw(st.lists(responses, min_size=2, max_size=4))
        rows = []
        for annotator in draw(st.lists(names, unique_by=normalized_text, max_size=3)):
            ranks = draw(st.lists(st.integers(1, 4), min_size=len(answers), max_size=len(answers)))
            row = Ranks(annotator=annotator, ranks=ranks)
            if comment := draw(filled | st.just("")):
                row["comment"] = comment
            if draw(st.booleans()):
                row["both_bad"] = True
            if guidelines := draw(st.sampled_from(["", "3f2a"])):
                row["guidelines"] = guidelines
            rows.append(row)
        rankings.append(Ranking(id=name, prompt=prompt, responses=answers, rankings=rows))
    spelled: dict[str, str] = {}  # one person is written alike everywhere
    for row in (row for ranking in rankings for row in ranking["rankings"]):
        row["annotator"] = spelled.setdefault(normalized_text(row["annotator"]), row["annotator"])
    return rankings


def again(rows, form: str) -> list[Ranking]:
    reading = read_rows(rows, form)
    assert not reading.bad
    pooled = pool(reading.votes)
    assert not pooled.left_out
    return pooled.rankings


@given(rankings_strategy())
def test_json_lines_give_back_the_same_rankings(rankings):
    lines = rankings_text(rankings).split("\n")[:-1]
    assert again([(n, json.loads(line)) for n, line in enumerate(lines)], "rankings") == rankings


@given(rankings_strategy(responses=filled))
def test_tables_give_back_the_same_rankings(rankings):
    for text, form in ((write_wide(rankings), "wide"), (write_long(rankings), "long")):
        rows, bad = read_table(text)
        assert not bad
        assert again(rows, form) == rankings


@given(texts)
def test_no_cell_begins_as_a_formula_and_every_text_comes_back(text):
    cell = escape_formula(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")
    assert unescape_formula(cell) == text


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


def outcome(tmp_path, text: str, columns: Columns = UNMAPPED, name="in.csv", form: str | None = None, **limits):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read(path, form, columns, **limits)


def imported(*arguments, **more) -> list[Ranking]:
    return outcome(*arguments, **more).rankings


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


def said_of(tmp_path, text: str, **more) -> str:
    """The message of a refused text."""
    with pytest.raises(LabelingError) as caught:
        imported(tmp_path, text, **more)
    assert caught.value.fault == "request"
    return str(caught.value)


def test_each_kind_of_fault_is_one_line_with_its_count_and_three_places(tmp_path):
    text = (
        "id,prompt,annotator,response_1,rank_1,response_2,rank_2\n"
        "b,,x,one,1,two,2\n"  # no prompt
        + "c,Hi?,x,one,first,two,0\n" * 4  # no ranks
        + "e,Hi?,x,one,1,,\n"  # one response
        + "f,Hi?,x,one,1,two,2,extra\n"
    )
    said = said_of(tmp_path, text).splitlines()
    assert said[0].endswith(
        "7 of 7 rows (100%) cannot be used, more than --max-bad-fraction 0.2 allows; nothing was written."
    )
    assert said[1].startswith(
        "Read as wide: prompt from `prompt`, responses from `response_1`, `response_2`, ranks from"
    )
    assert said[2:-1] == [
        "  4 x a rank is a whole number from 1: row 3, rank_1 ('first'); row 4, rank_1 ('first'); "
        "row 5, rank_1 ('first'); …",
        "  1 x the prompt is empty: row 2, prompt",
        "  1 x has more cells than the header, which has 7: row 8, row ('8')",
        "  1 x two responses or more are needed to rank, found 1: row 7, ranks",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,annotator,response,rank\nHi?,x,one,1\nHi?,x,one,2\n", "add a column `slot`"),
        ("prompt,response,rank\nHi?,one,1\nHi?,two,2\nHi?,one,2\nHi?,two,1\n", "a column with the annotator is needed"),
        ("prompt,annotator,response,rank\nHi?,x,one,1\nHi?,x,two,2\nHi?,y,one,1\n", "two responses or more"),
        ("prompt,annotator,slot,response,rank\nHi?,x,1,one,1\nHi?,x,zwei,two,1\n", r"row 3, slot \('zwei'\)"),
        ("annotator,response,rank\nx,one,1\n", "no column for the prompt.*--prompt-field"),
        ("prompt,annotator,response,rank,rank\n", "occurs twice"),
        ('prompt,annotator,response,rank\n"Hi?,x,one,1\n', "quotes"),
        ("a,b\n1,2\n", "It has no rankings.*columns are a, b"),
        ("", "is empty"),
        ("prompt,annotator,response,rank\n", "has no rankings"),
        (
            "prompt,annotator,response_1,rank_1,response_2,rank_2\nHi?,x,one,,two,\n",
            "has no rankings: no row has ranks",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, text, message):
    assert re.search(message, said_of(tmp_path, text), re.DOTALL)


def test_every_fault_of_json_lines_is_counted(tmp_path):
    rows = [
        '{"id": "a", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "n", "ranks": [1, 2.5]}]}',
        '{"id": 3, "prompt": [], "responses": "x", "rankings": {}}',
        "{broken",
        "[1]",
        '{"id": "b", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "", "ranks": [1, 2], "comment": 2}]}',  # noqa: E501
        '{"id": "c", "prompt": "Hi?", "responses": ["x", "y"], "rankings": [{"annotator": "n", "ranks": [1]}]}',
    ]
    said = said_of(tmp_path, "\n".join(rows), name="in.jsonl")
    assert "6 of 6 rows" in said
    for line, field in [(1, "ranks"), (2, "prompt"), (3, "line"), (4, "row"), (5, "comment"), (6, "ranks")]:
        assert f"line {line}, {field}" in said


def wide(rows: int, *cells: str) -> str:
    """A wide table: good rows, and one more."""
    head = "prompt,annotator,response_1,rank_1,response_2,rank_2"
    good = [f"Question {number}?,x,one,1,two,2" for number in range(rows)]
    return "\n".join([head, *good, ",".join(cells)]) + "\n"


def test_a_row_that_cannot_be_used_is_left_out_with_a_ledger(tmp_path, capsys):
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text(wide(4, "Question 9?", "x", "one", "first", "two", "2"))
    assert main(["import", str(source), "--to", str(target)]) == 0
    assert len(target.read_text().splitlines()) == 4
    (line,) = map(json.loads, (tmp_path / "out.ledger.jsonl").read_text().splitlines())
    assert line["file"] == str(source)
    assert (line["row"], line["step"], line["field"]) == ("row 6", "format", "rank_1")
    assert line["reason"] == "a rank is a whole number from 1"
    assert "Question 9?" in line["excerpt"]
    said = capsys.readouterr().out
    assert "1 x a rank is a whole number from 1: row 6, rank_1 ('first')" in said
    assert "out.ledger.jsonl" in said


@pytest.mark.parametrize("limit", [["--on-bad-row", "error"], ["--max-bad-fraction", "0.1"]])
def test_a_refused_import_writes_nothing_and_ends_with_status_2(tmp_path, capsys, limit):
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text(wide(4, "Question 9?", "x", "one", "first", "two", "2"))
    assert main(["import", str(source), "--to", str(target), *limit]) == 2
    assert os.listdir(tmp_path) == ["in.csv"]
    assert "row 6, rank_1" in capsys.readouterr().err


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


def test_a_missing_file_a_folder_without_files_and_a_full_disk_are_said(tmp_path, source, capsys):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none.csv", tmp_path / "folder"):
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
        {"prompt": [{"role": "user", "content": "Shorten that."}], "input": "A long text."},
        {"prompt": "Only that.", "input": ""},
    ]
    lines = [json.dumps({**row, "responses": ["x", "y"], "rankings": rankings}) for row in asked]
    assert [row["prompt"] for row in imported(tmp_path, "\n".join(lines), name="in.jsonl")] == [
        "Shorten this.\n\nA long text.",
        "Only this.",
        [{"role": "user", "content": "Shorten that.\n\nA long text."}],
        "Only that.",
    ]
    table = "prompt,input,annotator,response_1,rank_1,response_2,rank_2\nShorten.,A text.,n,x,1,y,2\n"
    assert imported(tmp_path, table)[0]["prompt"] == "Shorten.\n\nA text."


def test_keys_of_rankings_that_are_not_read_are_named_and_a_system_prompt_is_read(tmp_path):
    row = {"system": "Be brief.", "prompt": "Q", "responses": ["x", "y"], "statute": "12", "weight": 0}
    ranked = {**row, "rankings": [{"annotator": "n", "ranks": [1, 2]}]}
    found = outcome(tmp_path, json.dumps(ranked), name="in.jsonl")
    assert [turn["role"] for turn in found.rankings[0]["prompt"]] == ["system", "user"]
    assert found.sentences[0].endswith("annotators from `rankings.annotator`; not read: `statute`, `weight`")


def test_half_a_surrogate_pair_is_kept_in_json_lines_and_refused_in_a_table(tmp_path, capsys):
    source = tmp_path / "in.jsonl"
    odd: Ranking = {**RANKINGS[0], "responses": ["\ud83d", "b", "c"]}
    source.write_text(rankings_text([odd]))
    assert main(["import", str(source), "--to", str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    assert main(["export", str(source), "--to", str(tmp_path / "out.csv")]) == 2
    assert "surrogate" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_the_format_is_found_out_from_the_content():
    assert form_of(RANKINGS[0]) == "rankings"
    assert form_of(read_table(write_wide(RANKINGS))[0][0][1]) == "wide"
    assert form_of(read_table(write_long(RANKINGS).replace(",", ";", 9))[0][0][1]) == "long"
    assert form_of({"id": 1, "data": {}, "annotations": []}) == "label-studio"
    assert form_of({"messages": [{"role": "user", "content": "Hi?"}]}) is None
