"""Nested votes are read like rows of their own, and their changes have the same effect."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.judgements.loading import Loaded, load_judgements
from pipeline.errors import RequestError

ROW = {"id": "q7", "prompt": "q", "response_a": "one", "response_b": "two"}


def load(folder: Path, row: dict[str, Any], name: str = "rows.jsonl") -> Loaded:
    path = folder / name
    if name.endswith(".csv"):
        cells = [json.dumps(cell) if isinstance(cell, list | dict) else str(cell) for cell in row.values()]
        lines = [",".join(row), ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(json.dumps(row) + "\n")
    return load_judgements(path)


def votes(loaded: Loaded) -> dict[str, list[int]]:
    (ranking,) = loaded.rankings
    return {row["annotator"]: row["ranks"] for row in ranking["rankings"]}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("column", ["annotations", "votes", "Judgements", "preferences"])
@pytest.mark.parametrize("inner", [("annotator", "preference"), ("worker_id", "winner"), ("rater", "label")])
def test_a_list_of_judges_and_verdicts(tmp_path: Path, name: str, column: str, inner: tuple[str, str]) -> None:
    def given(*verdicts: tuple[str, str]) -> list[dict[str, Any]]:
        return [{"id": n, inner[0]: who, inner[1]: word} for n, (who, word) in enumerate(verdicts)]

    row = {**ROW, "winner": "a", column: given(("ann", "A"), ("bob", "B"), ("cid", "tie"))}
    loaded = load(tmp_path, row, name)
    assert votes(loaded) == {"ann": [1, 2], "bob": [2, 1], "cid": [1, 1]}
    assert (loaded.rankings[0]["id"], loaded.ledger.read, loaded.ledger.dropped) == ("q7", 3, 0)
    row[column] = given(("ann", "B"), ("dan", "tie"))
    assert votes(load(tmp_path, row, name)) == {"ann": [2, 1], "dan": [1, 1]}


def test_what_each_vote_says_of_itself_counts(tmp_path: Path) -> None:
    given = [
        {"annotator": "ann", "preference": "a", "timestamp": "2026-01-02", "status": "submitted"},
        {"annotator": "ann", "preference": "b", "timestamp": "2026-01-01", "status": "submitted"},
        {"annotator": "bob", "preference": "b", "timestamp": "2026-01-01", "status": "discarded"},
    ]
    loaded = load(tmp_path, {**ROW, "annotations": given})
    assert votes(loaded) == {"ann": [1, 2]}
    assert (loaded.ledger.read, loaded.ledger.kept, loaded.ledger.dropped) == (3, 1, 2)
    assert {entry.place.item for entry in loaded.ledger.entries} == {"annotations[1]", "annotations[2]"}


def test_words_and_names_with_words(tmp_path: Path) -> None:
    assert votes(load(tmp_path, {**ROW, "votes": {"ann": "A", "bob": "tie"}})) == {"ann": [1, 2], "bob": [1, 1]}
    assert sorted(votes(load(tmp_path, {**ROW, "votes": ["B", "A"]})).values()) == [[1, 2], [2, 1]]


@pytest.mark.parametrize("counts", [{"A": 3, "B": 1}, {"A": "tie", "B": "tie"}, [3, 1], {"ann": "fine"}])
def test_what_may_be_something_else_is_refused(tmp_path: Path, counts: object) -> None:
    with pytest.raises(RequestError, match="not recognised"):
        load(tmp_path, {**ROW, "votes": counts})


def test_ranks_of_each_judge(tmp_path: Path) -> None:
    given = [{"annotator": "ann", "ranks": [1, 2]}, {"annotator": "bob", "ranks": [2, 1]}]
    row = {"prompt": "q", "responses": ["one", "two"], "annotations": given}
    assert votes(load(tmp_path, row)) == {"ann": [1, 2], "bob": [2, 1]}


@pytest.mark.parametrize(("scores", "ranks"), [((0.5, -0.5), [1, 2]), ((-1, 1), [2, 1]), ((0.0, 0.0), [1, 1])])
def test_webgpt(tmp_path: Path, scores: tuple[float, float], ranks: list[int]) -> None:
    question = {"dataset": "eli5", "id": "1", "full_text": "q"}
    row = {"question": question, "answer_0": "one", "answer_1": "two", "score_0": scores[0], "score_1": scores[1]}
    loaded = load(tmp_path, row)
    assert (loaded.rankings[0]["prompt"], list(votes(loaded).values())) == ("q", [ranks])


@pytest.mark.parametrize(("choice", "ranks"), [(0, [1, 2]), (1, [2, 1])])
@pytest.mark.parametrize("text", ["post", "article"])
def test_openai_summaries(tmp_path: Path, text: str, choice: int, ranks: list[int]) -> None:
    summaries = [{"text": "one", "policy": "sup1"}, {"text": "two", "policy": "ref"}]
    row = {"info": {"id": "i", text: "a story"}, "summaries": summaries, "choice": choice, "worker": "w1"}
    loaded = load(tmp_path, row)
    assert (loaded.rankings[0]["prompt"], votes(loaded)) == ("a story", {"w1": ranks})


def test_rankings_that_say_that_they_do_not_count(tmp_path: Path) -> None:
    given = [
        {"annotator": "ann", "ranks": [1, 2], "status": "submitted"},
        {"annotator": "bob", "ranks": [2, 1], "status": "discarded"},
    ]
    row = {"id": "q7", "prompt": "q", "responses": ["one", "two"], "rankings": given}
    loaded = load(tmp_path, row)
    assert votes(loaded) == {"ann": [1, 2]}
    assert (loaded.ledger.read, loaded.ledger.dropped) == (2, 1)
    given[1]["status"] = "submitted"
    assert votes(load(tmp_path, row)) == {"ann": [1, 2], "bob": [2, 1]}
