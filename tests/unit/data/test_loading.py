"""From files to rows: nothing is dropped in silence, and the numbers add up."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.judgements.loading import LoadingOptions, load_judgements
from pipeline.data.ledger import Ledger
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from tests.examples import at_most
from tests.places import REAL
from tests.unit.data.preparing import load_demonstrations

real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not there: {REAL}")


def lines(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def alpaca(index: int) -> dict[str, str]:
    return {"instruction": f"question {index}", "output": f"answer {index}"}


def numbers(ledger: Ledger) -> tuple[int, int, int, int]:
    return ledger.read, ledger.kept, ledger.dropped, ledger.duplicates


@real
@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("sft/alpaca_format_seed_tasks.json", "alpaca", (175, 175, 0, 0)),
        ("sft/sharegpt_dummy.json", "sharegpt", (500, 500, 0, 0)),
        ("sft/gsm8k_400.jsonl", "prompt_completion", (400, 400, 0, 0)),
        ("sft/oasst_trees.jsonl", "oasst", (40, 40, 0, 0)),
        ("sft/pubmedqa_200.json", "pubmedqa", (200, 200, 0, 0)),
        ("preferences/hh_harmless_pairs.jsonl", "hh", (592, 589, 3, 0)),
    ],
)
def test_real_demonstrations(name: str, format: str, expected: tuple[int, ...]) -> None:
    rows, ledger, found = load_demonstrations(REAL / name)
    assert (found, numbers(ledger), len(rows)) == (format, expected, expected[1])


@real
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("rankings/pandalm_neutral.jsonl", "rankings", (357, 306, 51, 50)),
        ("rankings/pandalm_source_format.json", "rankings", (357, 306, 51, 50)),
        ("rankings/squality_neutral.jsonl", "rankings", (40, 40, 0, 0)),
        ("preferences/hh_harmless_pairs.jsonl", "preferences", (592, 589, 3, 0)),
    ],
)
def test_real_judgements(name: str, kind: str, expected: tuple[int, ...]) -> None:
    loaded = load_judgements(REAL / name)
    assert (loaded.kind, numbers(loaded.ledger)) == (kind, expected)
    assert len(loaded.rankings) + len(loaded.pairs) == expected[1]


@real
def test_real_trees_hold_several_rankings_each() -> None:
    loaded = load_judgements(REAL / "sft" / "oasst_trees.jsonl")
    assert (numbers(loaded.ledger), len(loaded.rankings)) == ((40, 40, 0, 0), 79)


@real
def test_why_real_pairs_were_dropped() -> None:
    ledger = load_judgements(REAL / "preferences" / "hh_harmless_pairs.jsonl").ledger
    assert [(entry.place.line, entry.field, entry.role) for entry in ledger.entries] == [
        (183, "chosen[2]", "assistant"),
        (221, "chosen[1].content", "Assistant"),
        (471, "chosen[4]", "assistant"),
    ]


@real
def test_real_conversations_are_read_as_they_stand() -> None:
    rows, _, _ = load_demonstrations(REAL / "sft" / "sharegpt_dummy.json")
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"] * 2
    assert rows[0]["messages"][0]["content"] == "Who are you?"
    rankings = load_judgements(REAL / "rankings" / "pandalm_neutral.jsonl").rankings
    assert "unnecessary words.\n\nIf you have any questions" in rankings[0]["prompt"]


DAMAGED: list[Any] = [
    {"instruction": "no answer", "output": ""},
    {"instruction": None, "output": "x"},
    {"output": "x"},
    {},
    "{broken",
    "null",
    "[]",
    "17",
    '"text"',
    '{"instruction": "half", "output": "\\ud800"}',
]


@at_most(20)
@given(
    good=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    bad=st.lists(st.sampled_from(DAMAGED), max_size=12),
    seed=st.randoms(use_true_random=False),
)
def test_read_is_kept_plus_dropped(
    tmp_path_factory: pytest.TempPathFactory, good: list[int], bad: list[Any], seed: Any
) -> None:
    mixed = [*map(alpaca, good), *bad]
    seed.shuffle(mixed)
    file = lines(tmp_path_factory.mktemp("mixed"), {"instruction": "first", "output": "row"}, *mixed)
    rows, ledger, _ = load_demonstrations(file, max_bad_fraction=1.0)
    assert ledger.read == 1 + len(good) + len(bad) == len(rows) + len(ledger.entries)
    assert ledger.kept == len(rows) == 1 + len(set(good))
    assert ledger.duplicates == len(good) - len(set(good))
    assert ledger.at("format") == len(bad)
    assert sum(ledger.reasons().values()) == ledger.dropped


def test_the_ledger_as_a_file(tmp_path: Path) -> None:
    odd = {"instruction": "odd", "output": None}
    file = lines(tmp_path, alpaca(1), "", odd, "{oops", alpaca(1), alpaca(2))
    _, ledger, _ = load_demonstrations(file, max_bad_fraction=0.5)
    ledger.write(tmp_path / "ledger.jsonl")
    place = {"file": str(file), "item": None}
    first, second, third = read_jsonl(tmp_path / "ledger.jsonl")
    assert first == {
        **place,
        "line": 3,
        "step": "format",
        "source": "files",
        "field": "output",
        "role": "assistant",
        "reason": "text is expected, found nothing",
        "excerpt": json.dumps(odd),
    }
    assert (second["line"], second["field"], second["excerpt"]) == (4, "column 2", "{oops")
    assert (third["line"], third["reason"], third["like"]) == (5, "duplicate", f"{file}, line 1")


def test_whitespace_alone_makes_no_new_row(tmp_path: Path) -> None:
    file = lines(tmp_path, {"instruction": "a b", "output": "c"}, {"instruction": " a\n b ", "output": "c "}, alpaca(1))
    rows, ledger, _ = load_demonstrations(file)
    assert (len(rows), numbers(ledger)) == (2, (3, 2, 1, 1))
    assert rows[0]["messages"][0]["content"] == "a b"


def test_duplicates_are_found_across_files_and_formats(tmp_path: Path) -> None:
    lines(tmp_path, alpaca(1), alpaca(2), name="a.jsonl")
    lines(tmp_path, {"prompt": "question 1", "completion": "answer 1"}, name="b.json")
    _, ledger, found = load_demonstrations(tmp_path)
    assert (found, numbers(ledger)) == ("alpaca, prompt_completion", (3, 2, 1, 1))
    assert ledger.entries[0].place.file == tmp_path / "b.json"


def test_duplicates_do_not_count_as_bad(tmp_path: Path) -> None:
    rows, ledger, _ = load_demonstrations(lines(tmp_path, *[alpaca(1)] * 10), max_bad_fraction=0.0)
    assert (len(rows), ledger.duplicates) == (1, 9)


def test_the_first_bad_row_ends_the_reading_if_asked(tmp_path: Path) -> None:
    file = lines(tmp_path, alpaca(1), {"instruction": "i", "output": None})
    with pytest.raises(RequestError) as caught:
        load_demonstrations(file, on_bad_row="error")
    text = str(caught.value)
    assert f"{file}, line 2: field output, role 'assistant': text is expected, found nothing" in text
    assert '{"instruction": "i", "output": null}' in text
    assert "Correct that row, or drop such rows with data.on_bad_row=drop" in text


def test_too_many_bad_rows(tmp_path: Path) -> None:
    empty, missing = {"instruction": "i", "output": ""}, {"instruction": "i", "output": None}
    file = lines(tmp_path, *[alpaca(index) for index in range(5)], empty, missing, empty, empty, "{")
    rows, _, _ = load_demonstrations(file, max_bad_fraction=0.5)
    assert len(rows) == 5
    with pytest.raises(RequestError) as caught:
        load_demonstrations(file)
    text = str(caught.value)
    assert "5 of 10 rows (50%) cannot be used, more than data.max_bad_fraction=0.2 allows" in text
    assert text.index("3 x the text is empty") < text.index("1 x text is expected, found nothing")
    assert all(f"the first: {file}, line {line}: " in text for line in (6, 7, 10))
    assert f"{file}, line 8" not in text
    assert "may be misread, too" in text
    assert "raise" not in text


def test_a_file_of_which_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"2 of 2 rows \(100%\) cannot be used, so none is left"):
        load_demonstrations(lines(tmp_path, alpaca(1), alpaca(2)), format="sharegpt", max_bad_fraction=1.0)


def test_a_format_named_by_hand_settles_an_ambiguous_file(tmp_path: Path) -> None:
    file = lines(tmp_path, {**alpaca(1), "prompt": "q", "completion": "a"})
    with pytest.raises(RequestError, match="several formats"):
        load_demonstrations(file)
    rows, _, found = load_demonstrations(file, format="prompt_completion")
    assert (found, rows[0]["messages"][0]["content"]) == ("prompt_completion", "q")


def test_rows_of_a_document_are_named_by_index_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([alpaca(1), alpaca(2), {"instruction": "i", "output": ""}], indent=1))
    with pytest.raises(RequestError, match=r"rows\.json, line 10 \(item 2\): field output"):
        load_demonstrations(file)


def ranked(index: int, annotator: str = "a", **change: Any) -> dict[str, Any]:
    rankings = [{"annotator": annotator, "ranks": [1, 2]}]
    return {"id": f"r{index}", "prompt": "q", "responses": ["a", "b"], "rankings": rankings, **change}


FIELDS = sorted(
    {
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "conversations",
        "messages",
        "prompt",
        "completion",
    }
    | {"response", "question", "answer", "text", "chosen", "rejected", "margin", "group", "id", "responses"}
    | {"rankings"}
)
TRANSCRIPTS = ["\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: b"]
TEXTS = st.text(max_size=4) | st.sampled_from([*TRANSCRIPTS, "\ud800"])
TURNS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", None]),
        "from": st.sampled_from(["human", "gpt", "system", "narrator", 7]),
        "content": TEXTS,
        "value": TEXTS,
        "annotator": TEXTS,
        "ranks": st.lists(st.integers(0, 3) | st.booleans() | st.floats(), max_size=3),
    },
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | TURNS | st.lists(TURNS | TEXTS, max_size=4)
ANY_ROW = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)
GOOD: dict[str, dict[str, Any]] = {
    "alpaca": alpaca(0),
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "prompt_completion": {"prompt": "q", "completion": "a"},
    "hh": {"text": "\n\nHuman: q\n\nAssistant: a"},
    "openorca": {"system_prompt": "", "question": "q", "response": "a"},
    "pubmedqa": {"QUESTION": "q", "CONTEXTS": ["c"], "LONG_ANSWER": "a"},
    "oasst": {
        "message_tree_id": "t",
        "prompt": {"text": "q", "role": "prompter", "replies": [{"text": "a", "role": "assistant"}]},
    },
    "kto": {"prompt": "q", "completion": "a", "label": True},
    "log": {"prompt": "q", "response": "a", "feedback": "up"},
}
JUDGED: dict[str, dict[str, Any]] = {
    "pandalm": {"idx": 1, "instruction": "q", "response1": "a", "response2": "b", "annotator1": 1},
    "rankings": ranked(0),
    "preferences": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "hh": {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
}


@pytest.mark.parametrize("format", GOOD)
@at_most(15)
@given(st.lists(ANY_ROW, max_size=8))
def test_numbers_add_up_in_every_format_of_demonstrations(
    format: str, tmp_path_factory: pytest.TempPathFactory, damage: list[dict[str, Any]]
) -> None:
    rows = [GOOD[format], *({**GOOD[format], **change} for change in damage), *damage]
    file = lines(tmp_path_factory.mktemp("fuzz"), *rows)
    kept, ledger, _ = load_demonstrations(file, format=format, max_bad_fraction=1.0)
    ledger.write(file.with_name("ledger.jsonl"))
    assert ledger.read == len(rows) == len(kept) + len(read_jsonl(file.with_name("ledger.jsonl")))
    assert all(turn["content"].strip() for row in kept for turn in row["messages"])
    assert all(row["messages"][-1]["role"] == "assistant" for row in kept)


@pytest.mark.parametrize("format", JUDGED)
@at_most(15)
@given(st.lists(ANY_ROW, max_size=8))
def test_numbers_add_up_in_every_format_of_judgements(
    format: str, tmp_path_factory: pytest.TempPathFactory, damage: list[dict[str, Any]]
) -> None:
    rows = [JUDGED[format], *({**JUDGED[format], **change} for change in damage), *damage]
    file = lines(tmp_path_factory.mktemp("fuzz"), *rows)
    loaded = load_judgements(file, LoadingOptions(format, max_bad_fraction=1.0))
    ledger = loaded.ledger
    assert ledger.read == ledger.kept + ledger.dropped >= len(rows)
    assert ledger.dropped == len(ledger.entries)
    assert 0 < len(loaded.rankings) + len(loaded.pairs) <= ledger.kept
    assert {entry.place.line for entry in ledger.entries} <= set(range(1, len(rows) + 1))


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]{}:,"a1 \n', max_size=40).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "any.json"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=r"any\.json"):
        load_demonstrations(file, max_bad_fraction=1.0)
