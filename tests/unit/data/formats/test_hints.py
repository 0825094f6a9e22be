"""Hints: a mapping only if the contents show it, only existing keys, and counts of ignored keys."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow, Place
from pipeline.data.formats.detection import detect, format_named
from pipeline.data.formats.hints import labels_among, likely_columns
from pipeline.data.formats.remarks import remarks_on
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, PROMPTS
from pipeline.data.formats.watching import WatchedRow
from pipeline.data.ledger import Ledger, check_bad_fraction, refuse_row
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, S, U, said
from tests.unit.data.test_loading import lines

N = range(12)
ASKS = [f"How do I mend kettle number {n}?" for n in N]
TELLS = [f"Unplug the kettle, then tighten screw number {n} with care." for n in N]


def table(**columns: Any) -> list[dict[str, Any]]:
    return [{name: values[n] for name, values in columns.items()} for n in N]


def test_columns_are_proposed_by_what_they_hold() -> None:
    hashes, models, urls = [f"{n:040x}" for n in N], ["some-model"] * 12, [f"https://example.org/{n}" for n in N]
    rows = table(hash=hashes, model=models, link=urls, frage=ASKS, antwort=TELLS, names=["Ann Lee"] * 12)
    assert likely_columns(rows) == ("frage", "antwort")
    assert likely_columns([dict(reversed(row.items())) for row in rows]) == ("frage", "antwort")
    with pytest.raises(RequestError, match=r"data\.columns\.prompt=frage data\.columns\.completion=antwort"):
        detect(rows, DEMONSTRATIONS, Path("f"))


@pytest.mark.parametrize(
    "rows",
    [
        table(hash=[f"{n:040x}" for n in N], model=["m"] * 12),
        table(a=ASKS, b=ASKS),  # two columns of questions
        table(a=TELLS, b=TELLS),  # none
        table(a=ASKS, b=TELLS, c=[f"Another text of some words, number {n}." for n in N]),
        table(a=ASKS, b=["yes"] * 12),
        table(a=[f"{one} {one} {one}" for one in ASKS], b=TELLS),  # the question is the longer one
        table(a=ASKS, b=["the same text of a few words in each row"] * 12),
        table(a=ASKS, b=[f"https://example.org/{n}" for n in N]),
        table(a=ASKS),
    ],
)
def test_no_columns_are_proposed_where_contents_do_not_show_them(rows: list[dict[str, Any]]) -> None:
    assert likely_columns(rows) is None
    with pytest.raises(RequestError, match=r"data\.columns\.prompt=… data\.columns\.completion=…"):
        detect([{f"x{key}": value for key, value in row.items()} for row in rows], DEMONSTRATIONS, Path("f"))


def test_labels_are_told_from_answers() -> None:
    assert labels_among(["A", "B", "A"]) == ["A", "B"]
    assert labels_among(["accept", " reject", "accept"]) == ["accept", "reject"]
    assert labels_among(["yes", "no"] * 10) == ["no", "yes"]
    for answers in (
        [],
        ["A", "B"],
        ["yes", "no"] * 9,
        [*["A"] * 30, "Unplug the kettle, then tighten it."],
        list("ABCDEF"),
    ):
        assert labels_among(answers) == []
    assert labels_among([f"answer {n}" for n in N]) == []


def test_formats_are_named_by_the_key_that_there_is() -> None:
    for formats, key in ((DEMONSTRATIONS, "data.format"), (JUDGEMENTS, "labeling.format")):
        with pytest.raises(RequestError, match=rf"Name the right one by hand: {key}=auto\|"):
            detect([{"x": 1}], formats, Path("f"))
        with pytest.raises(RequestError, match=rf"Use {key}=auto\|"):
            format_named("nothing", formats)
    with pytest.raises(RequestError) as caught:
        detect([{"x": 1}], PROMPTS, Path("f"))
    assert "by hand" not in str(caught.value)
    assert "data." not in str(caught.value)


def test_too_many_bad_rows_do_not_advise_to_drop_more() -> None:
    ledger = Ledger()
    ledger.count_read(2)
    entry = ledger.drop(Place(Path("f"), 1), BadRow("rating", None, "odd"), {"rating": 1})
    for group in ("data", "labeling", ""):
        with pytest.raises(RequestError) as caught:
            check_bad_fraction(ledger, 0.2, group)
        text = str(caught.value)
        assert "raise" not in text
        assert (f"{group}.format" in text and f"{group}.columns" in text) == bool(group)
    assert "labeling.on_bad_row=drop" in str(refuse_row(entry, "labeling"))


def test_what_is_not_understood_is_counted_for_each_row() -> None:
    turns = [
        {"role": "system", "content": "s", "tools": [{"name": "f"}]},
        {"role": "user", "content": "q", "weight": 1, "reasoning": "x", "language": "en", "toxic": False},
        {"role": "assistant", "content": "a", "weight": 1, "reasoning": "y", "rating": 2, "id": "1", "extra": None},
        {"role": "user", "content": "q", "toxic": True, "train": False},
        {"role": "assistant", "content": "a", "rating": 5, "reasoning": ["z"]},
    ]
    row = WatchedRow({"messages": turns, "others": [{"role": "user", "vote": 1}]})
    format_named("messages", DEMONSTRATIONS).convert(row)
    assert Counter(remarks_on(row)) == Counter(
        {
            f"`messages[].{key}` is unknown and ignored": n
            for key, n in (("rating", 1), ("weight", 1), ("reasoning", 1), ("toxic", 1))
        }
    )


def test_texts_that_were_none_and_transcripts_are_counted() -> None:
    row = WatchedRow({"prompt": "\n\nHuman: q\n\nAssistant:", "completion": 7, "score": 3})
    format_named("prompt_completion", DEMONSTRATIONS).convert(row)
    assert Counter(remarks_on(row)) == Counter(
        {
            "`completion` is a number, or true or false: read as text": 1,
            "`prompt` is a transcript: read as turns": 1,
        }
    )
    assert "score" not in row.read


@pytest.mark.parametrize(
    ("name", "row", "roles"),
    [
        ("alpaca", {"instruction": "i", "input": "x", "output": "o"}, {"instruction": "prompt", "output": "answer"}),
        (
            "prompt_completion",
            {"Prompt": "q", "context": "c", "response": "a"},
            {"Prompt": "prompt", "context": "prompt"},
        ),
        ("messages", {"conversation": said((U, "q"), (A, "a"))}, {"conversation": "turns"}),
        (
            "openorca",
            {"question": "q", "response": "a", "system_prompt": "s"},
            {"question": "prompt", "response": "answer"},
        ),
    ],
)
def test_rows_remember_what_was_read(name: str, row: dict[str, Any], roles: dict[str, str]) -> None:
    watched = WatchedRow({**row, "statute": "s"})
    format_named(name, DEMONSTRATIONS).convert(watched)
    assert roles.items() <= watched.roles.items()
    assert watched.read == row.keys()


@pytest.mark.parametrize(
    ("name", "row", "unread"),
    [
        ("prompt_completion", {"problem": "q", "solution": "a", "answer": "7"}, {"answer"}),
        ("prompt_completion", {"prompt": "q", "completion": "a", "weight": 0.5}, {"weight"}),
        ("prompt_completion", {"prompt": "q", "response": "a", "answer": "accept"}, set()),
        (
            "messages",
            {"messages": said((U, "q"), (A, "a")), "conversations": said((U, "r"), (A, "b"))},
            {"conversations"},
        ),
        ("messages", {"messages": said((U, "q"), (A, "a")), "input": "x", "label": 1}, {"input", "label"}),
        ("alpaca", {"instruction": "i", "output": "o", "input": "", "answer": "x"}, {"answer"}),
    ],
)
def test_columns_that_are_not_used_do_not_count_as_read(name: str, row: dict[str, Any], unread: set[str]) -> None:
    watched = WatchedRow(row)
    format_named(name, DEMONSTRATIONS).convert(watched)
    assert row.keys() - watched.read == unread


def test_a_system_turn_may_be_missing() -> None:
    assert remarks_on(WatchedRow({"messages": said((S, "s"))})) == []


@pytest.mark.parametrize(
    "mark", [{"feedback": "thumbs_down"}, {"thumbs_down": True}, {"label": False}, {"status": "rejected"}]
)
@pytest.mark.parametrize("shape", ["prompt_completion", "messages"])
def test_a_few_marks_among_many_rows_are_not_passed_over(tmp_path: Path, shape: str, mark: dict[str, Any]) -> None:
    def row(number: int) -> dict[str, Any]:
        question, answer = f"Question {number}?", f"Answer {number}."
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"messages": turns} if shape == "messages" else {"prompt": question, "completion": answer}

    rows = [{**row(number), **(mark if number == 7 else {})} for number in range(20)]
    file = lines(tmp_path, *rows)
    with pytest.raises(RequestError, match=f"1 of its first 20 rows mark .* with data.format={shape} all of them"):
        load_demonstrations(file)
    assert len(load_demonstrations(file, shape)[0]) == 20
