"""What rows of judgements say beside the judgement: that they do not count, who judged, and when."""

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from labeling.exchange import files
from labeling.exchange.columns import scale_of
from pipeline.data.judgements.loading import Loaded, load_judgements

Row = dict[str, Any]


def verdict(question: int, winner: str, **more: Any) -> Row:
    return {"prompt": f"q{question}", "response_a": "one", "response_b": "two", "winner": winner, **more}


def ranked(question: int, best: str, **more: Any) -> Row:
    ranks = {"rank_1": 1, "rank_2": 2} if best == "a" else {"rank_1": 2, "rank_2": 1}
    return {"prompt": f"q{question}", "response_1": "one", "response_2": "two", **ranks, **more}


def written(folder: Path, rows: list[Row]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def votes(loaded: Loaded) -> Counter[tuple[str, str, tuple[str, ...]]]:
    """(prompt, annotator, answers from best to worst), each with how often it was read."""
    return Counter(
        (
            str(one["prompt"]),
            row["annotator"],
            tuple(sorted(one["responses"], key=dict(_by_text(one, row)).__getitem__)),
        )
        for one in loaded.rankings
        for row in one["rankings"]
    )


def _by_text(one: Any, row: Any) -> list[tuple[str, int]]:
    return list(zip(one["responses"], row["ranks"], strict=True))


UNCOUNTED = [
    ("status", "submitted", "discarded"),
    ("status", "completed", "draft"),
    ("Status", "Accepted", "REJECTED"),
    ("review_status", "approved", "rejected"),
    ("AssignmentStatus", "Approved", "Rejected"),
    ("is_spam", False, True),
    ("spam", 0, 1),
    ("valid", True, False),
    ("is_valid", "yes", "no"),
    ("skipped", "False", "True"),
    ("was_cancelled", False, True),
    ("excluded", 0.0, 1.0),
    ("attention_check", "pass", "fail"),
    ("passed_attention_check", 1, 0),
    ("approved", "yes", "no"),
]


@pytest.mark.parametrize("row_of", [verdict, ranked])
@pytest.mark.parametrize(("column", "good", "bad"), UNCOUNTED)
def test_a_row_that_says_that_it_does_not_count_is_left_out(
    tmp_path: Path, row_of: Any, column: str, good: object, bad: object
) -> None:
    rows = [row_of(n, "a", annotator="ann", **{column: good}) for n in range(8)]
    out = [row_of(n, "b", annotator="bob", **{column: bad}) for n in range(8)]
    loaded = load_judgements(written(tmp_path, [*rows, *out]))
    assert votes(loaded) == Counter((f"q{n}", "ann", ("one", "two")) for n in range(8))
    assert loaded.ledger.dropped == 8
    assert loaded.ledger.at("format") == 0
    assert not any("not used" in remark or "not read" in remark for remark in loaded.remarks)


def test_import_leaves_out_the_same_rows(tmp_path: Path) -> None:
    rows = [ranked(n, "a", annotator="ann", is_spam=False) for n in range(4)]
    outcome = files.read(written(tmp_path, [*rows, *(ranked(n, "b", annotator="bob", is_spam=True) for n in range(4))]))
    assert len(outcome.left_out) == 4
    assert {row["annotator"] for one in outcome.rankings for row in one["rankings"]} == {"ann"}


def test_a_status_that_judges_an_answer_is_a_mark(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{n}", "response": text, "status": word}
        for n in range(3)
        for text, word in (("one", "accepted"), ("two", "rejected"))
    ]
    assert {order for *_, order in votes(load_judgements(written(tmp_path, rows)))} == {("one", "two")}


@pytest.mark.parametrize("column", ["rejected", "accepted"])
def test_numbers_of_answers_are_no_reviews(tmp_path: Path, column: str) -> None:
    loaded = load_judgements(written(tmp_path, [verdict(n, "a", **{column: n % 2}) for n in range(4)]))
    assert len(loaded.rankings) == 4


@pytest.mark.parametrize(
    "column", ["assessor", "Grader", "voter_id", "crowdworker", "respondent", "expert", "graded_by", "scored_by", "who"]
)
def test_people_are_found_under_many_names(tmp_path: Path, column: str) -> None:
    rows = [verdict(n, winner, **{column: name}) for n in range(3) for name, winner in (("ann", "a"), ("bob", "b"))]
    expected = {(f"q{n}", *one) for n in range(3) for one in (("ann", ("one", "two")), ("bob", ("two", "one")))}
    assert set(votes(load_judgements(written(tmp_path, rows)))) == expected


def test_a_person_may_be_an_object(tmp_path: Path) -> None:
    rows = [verdict(1, "a", annotator={"id": 7, "email": "x@example.org"}), verdict(1, "b", annotator={"id": 8})]
    assert {name for _, name, _ in votes(load_judgements(written(tmp_path, rows)))} == {"7", "8"}


@pytest.mark.parametrize("name", ["anonymous", "N/A", "unknown", "null", "None"])
@pytest.mark.parametrize("row_of", [verdict, ranked])
def test_votes_of_the_anonymous_are_a_vote_each(tmp_path: Path, row_of: Any, name: str) -> None:
    loaded = load_judgements(written(tmp_path, [row_of(1, best, annotator=name) for best in "aba"]))
    assert [len(one["rankings"]) for one in loaded.rankings] == [3]


@pytest.mark.parametrize(
    "column", ["timestamp", "tstamp", "answered_at", "created", "last_updated", "EndDate", "rated_at"]
)
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%m/%d/%y %H:%M", "%d-%m-%Y %H:%M"])
def test_the_later_answer_counts_under_many_names_and_forms(tmp_path: Path, column: str, form: str) -> None:
    """The later row stands first."""
    rows = []
    for n in range(20):
        early = datetime(2026, 1, 5, 9) + timedelta(days=n)
        for moment, winner in ((early + timedelta(days=31), "b"), (early, "a")):
            rows.append(verdict(n, winner, annotator="ann", **{column: moment.strftime(form)}))
    loaded = load_judgements(written(tmp_path, rows))
    assert votes(loaded) == Counter((f"q{n}", "ann", ("two", "one")) for n in range(20))


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("score", "scores"),
        ("human_rating", "scores"),
        ("overall_score", "scores"),
        ("rank", "ranks"),
        ("toxicity_score", None),
        ("harmfulness_rating", None),
        ("confidence_score", None),
        ("difficulty_rating", None),
        ("search_rank", None),
        ("position", None),
    ],
)
def test_only_scores_of_the_answer_as_a_whole_are_scores(name: str, scale: str | None) -> None:
    assert scale_of(name) == scale


def test_all_rows_of_a_vote_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    """One of four ranks cannot be read: four rows are dropped and reported."""
    rows = [
        {"prompt": f"q{n}", "response": f"r{slot}", "rank": slot if (n, slot) != (0, 1) else "?", "annotator": "ann"}
        for n in range(10)
        for slot in range(1, 5)
    ]
    loaded = load_judgements(written(tmp_path, rows))
    assert len(loaded.rankings) == 9
    assert loaded.ledger.dropped == 4
