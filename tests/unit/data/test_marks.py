"""Marks of demonstrations: bad answers never reach SFT, and what a file does not settle is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.pipeline import Source
from pipeline.data.prompts.loading import load_prompts
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations, prepared
from tests.unit.data.raw_rows import A, U, said


def lines(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def answers(rows: list[Any]) -> set[str]:
    return {row["messages"][-1]["content"] for row in rows}


def labelled(number: int, answer: str, label: object, **more: Any) -> dict[str, Any]:
    return {"messages": said((U, f"q{number}"), (A, f"{answer} {number}")), "label": label, **more}


@pytest.mark.parametrize(("good", "bad"), [(True, False), (1, 0), ("1", "0"), (1, -1), ("desirable", "undesirable")])
def test_whole_conversations_that_are_marked_bad_are_left_out(tmp_path: Path, good: object, bad: object) -> None:
    rows = [labelled(n, answer, label) for n in range(5) for answer, label in (("good", good), ("bad", bad))]
    kept, ledger, found = load_demonstrations(lines(tmp_path, *rows))
    assert (found, answers(kept)) == ("kto", {f"good {n}" for n in range(5)})
    assert ledger.reasons("cleaning") == {"the answer was marked as bad": 5}
    turned, _, _ = load_demonstrations(
        lines(tmp_path, *({**row, "label": bad if row["label"] == good else good} for row in rows))
    )
    assert answers(turned) == {f"bad {n}" for n in range(5)}


def stars(*ratings: object) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "response": f"{rating} stars", "rating": rating} for n, rating in enumerate(ratings)]


@pytest.mark.parametrize("ratings", [(1, 5), (1,), (5,), (1, 2, 3, 4, 5), (0, 1, 2)])
def test_stars_are_asked_for(tmp_path: Path, ratings: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"column rating has the values .*'data\.codes=\{") as caught:
        load_demonstrations(lines(tmp_path, *stars(*ratings)))
    assert "If it does not judge the answers: data.format=prompt_completion." in str(caught.value)


def test_given_codes_settle_stars_in_either_direction(tmp_path: Path) -> None:
    file = lines(tmp_path, *stars(1, 5, "3.0"))
    for number, (low, high) in enumerate((("bad", "good"), ("good", "bad"))):
        source = Source("mine", [file], codes={"1": low, "5": high, "3": "none"})  # type: ignore[arg-type]
        (tmp_path / str(number)).mkdir()
        rows, ledger, _ = prepared(source, folder=tmp_path / str(number))
        assert answers(rows["sft"]) == {"5 stars" if high == "good" else "1 stars"}
        assert ledger.at("cleaning") == 2


def test_a_format_named_by_hand_reads_past_the_marks(tmp_path: Path) -> None:
    rows, _, _ = load_demonstrations(lines(tmp_path, *stars(1, 5)), format="prompt_completion")
    assert len(rows) == 2


def test_marks_are_read_over_all_files_of_a_source(tmp_path: Path) -> None:
    """One file has only good answers, the other only bad ones: each by itself would not be clear."""
    good = lines(tmp_path, labelled(1, "good", 1), name="a.jsonl")
    bad = lines(tmp_path, labelled(2, "bad", 0), name="b.jsonl")
    rows, _, _ = load_demonstrations([good, bad])
    assert answers(rows) == {"good 1"}
    with pytest.raises(RequestError, match=r"column label has the values '1'"):
        load_demonstrations(good)


def test_prompts_of_bad_answers_are_prompts(tmp_path: Path) -> None:
    prompts, ledger = load_prompts(lines(tmp_path, labelled(1, "good", True), labelled(2, "bad", False)))
    assert (len(prompts), ledger.dropped) == (2, 0)
