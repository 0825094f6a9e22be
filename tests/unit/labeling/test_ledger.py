"""The ledger that a lead pays by: the spans, what is accepted, and the seconds, counted by hand."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from labeling.__main__ import main
from labeling.quality import accuracy
from tests.labeling_projects import task, write_round

LONG = "word " * 600  # 3,000 characters: 50 seconds to read
TASKS = [task(f"t{number}", "?", ["a", "b"]) for number in range(6)]
TASKS.append(task("long", LONG, ["a", "b"]))
TASKS.append(task("gold", "Gold?", ["a", "b", "c"]))
CHECKS = {"gold": {"gold": [1, 2, 2]}}

Table = list[dict[str, str]]


@pytest.fixture
def ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Table]:
    """Runs the command for the project `support` and returns its rows."""

    def run(*arguments: str) -> Table:
        given = ["ledger", str(tmp_path / "support"), "--home", str(tmp_path / "none"), *arguments]
        assert main(given) == 0
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    return run


def work(
    tmp_path: Path, annotator: str, *answers: tuple[str, Sequence[int], float], version: str = "abc123def456"
) -> None:
    """One annotator answers: (task, ranks or none for a discard, seconds after 9:00 on 2 November)."""
    folder = tmp_path / "support"
    for number, (name, ranks, seconds) in enumerate(answers):
        one = [next(task for task in TASKS if task["id"] == name)]
        start = datetime(2026, 11, 2, 9) + timedelta(seconds=seconds)
        own = f"{version[:4]}{number:02}{version[6:]}"
        write_round(folder, one, {annotator: {name: ranks}}, version=own, checks=CHECKS, start=start)


def test_what_is_submitted_accepted_failed_and_discarded(tmp_path: Path, ledger: Callable[..., Table]) -> None:
    work(
        tmp_path,
        "ann",
        ("t0", [1, 2], 0),
        ("t1", [2, 1], 40),
        ("long", [1, 2], 60),  # 20 s, where reading takes 50: too fast
        ("t2", [], 90),  # discarded
        ("gold", [1, 2, 3], 120),  # gold ties the last two, so either order is right
        ("t3", [1, 1], 120.2),  # sent together with the one before
    )
    (row,) = ledger()
    assert row["annotator"] == "ann"
    assert (row["submitted"], row["accepted"], row["gold_failed"]) == ("5", "4", "0")
    assert (row["too_fast"], row["discarded"]) == ("1", "1")
    # gaps 40, 20, 30, 30, 0.2, and their median, 30, for the first answer
    assert row["seconds"] == str(round(40 + 20 + 30 + 30 + 0.2 + 30))


@pytest.mark.parametrize(
    ("ranks", "fails"), [([1, 2, 3], False), ([1, 3, 2], False), ([2, 1, 3], True), ([1, 1, 2], True), ([], False)]
)
def test_gold_fails_exactly_where_its_accuracy_is_below_1(
    tmp_path: Path, ledger: Callable[..., Table], ranks: list[int], fails: bool
) -> None:
    work(tmp_path, "ann", ("gold", ranks, 0))
    (row,) = ledger()
    assert row["gold_failed"] == str(int(fails))
    if ranks:
        answer = {"annotator": "ann", "task": "gold", "status": "submitted", "ranks": ranks, "comment": ""}
        assert (accuracy([answer], CHECKS["gold"])["ann"].share < 1) == fails  # type: ignore[list-item]


def test_pauses_are_no_work_and_each_sitting_begins_with_the_usual_time(
    tmp_path: Path, ledger: Callable[..., Table]
) -> None:
    work(tmp_path, "ann", ("t0", [1, 2], 0), ("t1", [1, 2], 60), ("t2", [1, 2], 7260), ("t3", [1, 2], 7320))
    assert ledger()[0]["seconds"] == str(60 + 60 + 2 * 60)


@pytest.mark.parametrize(
    ("arguments", "submitted"),
    [
        ((), 3),
        (("--from", "2026-11-02", "--to", "2026-11-02"), 1),
        (("--from", "2026-11-03"), 2),
        (("--to", "2026-11-03"), 2),
        (("--from", "2026-11-02T09:00:01"), 2),
        (("--to", "2026-11-02T09:00"), 0),  # the end does not count
        (("--from", "2026-11-02T10:00+01:00", "--to", "2026-11-02T10:00:01+01:00"), 1),
        (("--from", "2026-12-01"), 0),
    ],
)
def test_days_are_in_utc_and_the_last_day_counts(
    tmp_path: Path, ledger: Callable[..., Table], arguments: tuple[str, ...], submitted: int
) -> None:
    work(tmp_path, "ann", *((f"t{day}", [1, 2], 86400 * day) for day in range(3)))
    rows = ledger(*arguments)
    assert [row["submitted"] for row in rows] == ([str(submitted)] if submitted else [])


def test_the_time_of_an_answer_is_known_although_the_one_before_is_outside_of_the_span(
    tmp_path: Path, ledger: Callable[..., Table]
) -> None:
    work(tmp_path, "ann", ("t0", [1, 2], 0), ("t1", [1, 2], 100), ("t2", [1, 2], 120))
    assert ledger("--from", "2026-11-02T09:01:59")[0]["seconds"] == "20"


def test_the_spans_of_a_month_add_up_to_the_whole(tmp_path: Path, ledger: Callable[..., Table]) -> None:
    work(tmp_path, "ann", *((f"t{day}", [1, 2], 86400 * day + 100 * day) for day in range(5)))
    days = [row for day in range(1, 9) for row in ledger("--from", f"2026-11-0{day}", "--to", f"2026-11-0{day}")]
    (whole,) = ledger()
    for column in ("submitted", "accepted", "seconds"):
        assert sum(int(row[column]) for row in days) == int(whole[column])


def test_names_that_a_spreadsheet_would_run_are_escaped(tmp_path: Path, ledger: Callable[..., Table]) -> None:
    work(tmp_path, "=1+1", ("t0", [1, 2], 0))
    assert ledger()[0]["annotator"] == "'=1+1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "yesterday"], "write a day as 2026-11-01"),
        (["--from", "2026-11-03", "--to", "2026-11-02"], "--from is not before --to"),
        (["--to", "2026-11-31"], "write a day as 2026-11-01"),
    ],
)
def test_a_wrong_span_ends_with_status_2(
    tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", str(tmp_path), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_file_of_rankings_has_no_times_to_pay_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rankings.jsonl").write_text("{}\n")
    assert main(["ledger", str(tmp_path / "rankings.jsonl")]) == 2
    assert "a project's folder is needed" in capsys.readouterr().err
