"""How fast annotators answer, and whether the texts can be read that fast."""

from datetime import datetime, timedelta

import pytest

from labeling.backend import AnnotatorAnswer, without_times
from labeling.pace import BREAK, CHARACTERS_PER_SECOND, paces, reading_seconds
from labeling.records import Task

START = datetime(2026, 1, 31, 12)
READING = {f"t{number}": 10.0 for number in range(100)}


def answers(name: str, *gaps: float, status: str = "submitted") -> list[AnnotatorAnswer]:
    """One answer, and one more after each gap in seconds."""
    found, now = [], START
    for number, gap in enumerate((0.0, *gaps)):
        now += timedelta(seconds=gap)
        found.append(
            AnnotatorAnswer(
                task=f"t{number}",
                annotator=name,
                status=status,  # type: ignore[typeddict-item]
                ranks=[1, 2],
                comment="",
                answered=now.isoformat(),
            )
        )
    return found


def test_a_task_takes_the_time_since_the_answer_before() -> None:
    given = answers("ann", *[5.0] * 12, *[30.0] * 4) + answers("ben", *[20.0] * 15)
    found = paces(reversed(given), READING)
    assert list(found) == ["ann", "ben"]
    assert (found["ann"].seconds.value, found["ann"].reading) == (5, 10)
    assert (found["ann"].too_fast, found["ann"].timed) == (12, 16)
    assert (found["ben"].too_fast, found["ben"].timed) == (0, 15)


def test_pauses_and_answers_sent_by_a_program_are_left_out() -> None:
    """An import, or a snapshot that was put back, has all answers at once: nobody is called too fast for that."""
    assert paces(answers("ann", BREAK + 1, 0.01, 0.0, 0.5), READING) == {}
    assert paces(answers("ann", BREAK + 1, 0.01, 12.0), READING)["ann"].timed == 1
    assert paces(without_times(answers("ann", 12.0, 12.0)), READING) == {}


def test_a_discarded_answer_and_an_unknown_task_only_mark_the_time() -> None:
    first, *rest = answers("ann", 3.0, 3.0, 3.0)
    skipped = [first, {**rest[0], "status": "discarded", "ranks": None}, {**rest[1], "task": "other"}, rest[2]]
    assert paces(skipped, READING)["ann"].timed == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("fast", "slow", "named"), [(40, 0, True), (30, 10, True), (22, 18, False), (9, 0, False)])
def test_too_fast_is_shown_for_more_than_half_of_ten_answers_or_more(fast: int, slow: int, named: bool) -> None:
    given = answers("ann", *[4.0] * fast, *[60.0] * slow)
    assert paces(given, READING)["ann"].is_too_fast(1.96) is named


def test_reading_takes_as_long_as_the_prompt_and_all_responses() -> None:
    texts = ["p" * 300, "a" * 150, "b" * 150]
    task = Task(id="t", prompt=[{"role": "user", "content": texts[0]}], responses=texts[1:])
    assert reading_seconds(task) == 600 / CHARACTERS_PER_SECOND
