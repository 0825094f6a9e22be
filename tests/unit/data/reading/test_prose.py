"""Plain text: paragraphs, or the transcripts of a person and an assistant."""

from pathlib import Path

import pytest

from pipeline.data.reading.files import BrokenRow, RawRow, read_rows
from pipeline.errors import RequestError
from tests.places import REAL as DATA

HUMAN = "Human: Hi.\n\nAssistant: Hello.\n\nHuman: Bye."
USER = "User: Hi.\nAssistant: Hello."


def read(folder: Path, content: str | bytes) -> list[tuple[int, str]]:
    file = folder / "rows.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    rows = [row for row in read_rows(file) if isinstance(row, RawRow)]
    assert all(list(row.fields) == ["text"] for row in rows)
    return [(row.place.line, row.fields["text"]) for row in rows]


def test_paragraphs_stand_between_blank_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "\n\nOne,\ntwo.\n \n\nThree: four.\n") == [(3, "One,\ntwo."), (7, "Three: four.")]


@pytest.mark.parametrize("said", [HUMAN, USER])
def test_a_file_with_speakers_is_one_transcript(tmp_path: Path, said: str) -> None:
    assert read(tmp_path, f"\n\n{said}\n\n") == [(3, said)]


@pytest.mark.parametrize("rule", ["---", "*****", "=====", " --- "])
def test_rules_part_transcripts(tmp_path: Path, rule: str) -> None:
    assert read(tmp_path, f"{rule}\n{HUMAN}\n{rule}\n\n{USER}\n") == [(2, HUMAN), (9, USER)]


def test_a_line_of_json_in_prose_is_prose(tmp_path: Path) -> None:
    assert read(tmp_path, 'Write it so:\n{"a": 1}\nand no other way.') != []


@pytest.mark.parametrize("text", ["[Verse 1]\nLa la la\n\nLa\n", "{Chorus}\nLa la la\n"])
def test_what_begins_like_json_is_never_taken_for_prose(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match=r"rows\.txt, line 1, .*neither JSON"):
        read(tmp_path, text)


def test_a_damaged_paragraph_is_a_broken_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_bytes("Schön ist’s.\n\n".encode() * 9 + b"one\ntwo \xff\n\nthree")
    (broken,) = [row for row in read_rows(file) if isinstance(row, BrokenRow)]
    assert (broken.place.line, broken.fault.field, broken.fault.reason) == (19, "column 5", "not UTF-8")


def test_a_play_comes_as_paragraphs() -> None:
    file = DATA / "prose" / "tinyshakespeare_first80.txt"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    texts = [row.fields["text"] for row in read_rows(file) if isinstance(row, RawRow)]
    assert texts[0] == "First Citizen:\nBefore we proceed any further, hear me speak."
    assert " ".join(texts).split() == file.read_text().split()
