"""Long work tells of itself: lines at intervals where no terminal looks on, and several at once."""

import sys
import threading
import time
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from pipeline import progress
from pipeline.progress import Advanced, Begun, Board, Ended, Event, Noted, Remark, Reporter, line
from tests.conftest import until


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at every look, instead of one in half a minute."""
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)


def printed_until(capsys: pytest.CaptureFixture[str], found: Callable[[str], bool]) -> str:
    text, deadline = "", time.monotonic() + 20
    while not found(text):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
        text += capsys.readouterr().out
    return text


def test_without_a_terminal_all_work_under_way_has_a_line(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Step, of how many, the loss; what has ended is no longer there."""
    board = Board()
    board.tell(Begun((1, 0), "dpo", 400))
    board.tell(Begun((2, 0), "reward", 90))
    board.tell(Advanced((1, 0), 120))
    board.tell(Noted((1, 0), "loss 0.61"))
    text = printed_until(capsys, lambda text: "dpo" in text and "reward" in text)
    assert "dpo 120 of 400 · loss 0.61" in text
    assert "reward 0 of 90" in text
    board.tell(Ended((1, 0)))
    board.forget(2)
    capsys.readouterr()
    board.tell(Begun((3, 0), "ppo", None))
    text = printed_until(capsys, lambda text: "ppo" in text)
    assert "dpo" not in text
    assert "reward" not in text


def test_a_terminal_has_a_bar_for_all_work_under_way_and_none_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    board = Board()
    board.tell(Begun((1, 0), "dpo", 400))
    board.tell(Begun((2, 0), "reward", 90))
    board.tell(Advanced((1, 0), 120))
    board.tell(Noted((1, 0), "loss 0.61"))
    until(lambda: "120/400" in screen.getvalue() and "loss 0.61" in screen.getvalue(), "no bar is drawn")
    assert "0/90" in screen.getvalue()
    board.tell(Ended((2, 0)))
    board.tell(Advanced((2, 0), 1))  # it comes late
    board.tell(Ended((1, 0)))
    shown = len(screen.getvalue())
    time.sleep(0.3)  # longer than from one drawing to the next
    assert len(screen.getvalue()) == shown
    board.tell(Remark("the learning rate is low", "dpo"))
    assert "dpo: the learning rate is low" in screen.getvalue()[shown:]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    with Reporter(board.tell).progress("sft", 3) as advance:
        advance(3)
    time.sleep(1.2)
    assert capsys.readouterr().out == ""


def test_a_line_says_how_long_it_still_takes() -> None:
    assert line("sft", 1200, 4000, "loss 1.41", 125.0) == "sft 1,200 of 4,000 · loss 1.41 · 2 min 05 s left"
    assert line("draft", 12, None, "", None) == "draft 12"


def test_events_of_fast_work_are_added_up_and_none_is_lost() -> None:
    """From several threads, too, as answers of an endpoint come in."""
    told: list[Event] = []
    reporter = Reporter(told.append)
    with reporter.progress("sample", 4000) as advance:
        threads = [threading.Thread(target=lambda: [advance(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(event.units for event in told if isinstance(event, Advanced)) == 4000
    assert len(told) < 100
    assert isinstance(told[0], Begun)
    assert isinstance(told[-1], Ended)


def test_metrics_belong_to_the_work_that_was_begun_last() -> None:
    told: list[Event] = []
    reporter = Reporter(told.append)
    reporter.note({"loss": 1.0})  # nothing is under way: nobody can show it
    with reporter.progress("sft", 3):
        reporter.note({"loss": 1.2345, "learning_rate": 1e-4})
        reporter.note({"learning_rate": 1e-4})
    assert [event.words for event in told if isinstance(event, Noted)] == ["loss 1.23"]


def test_a_remark_is_made_once_in_a_run_whichever_stages_make_it(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    for remark in (
        Remark("no pad token", "sft"),
        Remark("no pad token", "dpo"),
        Remark("no pad token"),
        Remark("other"),
    ):
        board.tell(remark)
    assert capsys.readouterr().out.split("\n") == ["   sft: no pad token", "   other", ""]
    board.begin()
    board.tell(Remark("no pad token"))
    assert "no pad token" in capsys.readouterr().out


def test_remarks_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Board().tell(Remark("rows [with brackets] are left out"))
    assert "rows [with brackets] are left out" in capsys.readouterr().out
