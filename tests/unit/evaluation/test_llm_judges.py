"""Language models as judges: the question in both orders, what is read of the reply, and what it says of the judge."""

import pytest

from labeling.records import Message
from pipeline.evaluation.llm_judges import Contest, Reply, choice_in, habits, longer_wins, rate, replies, requests
from pipeline.report.llm_judges import judge_text

CONTEST = Contest([Message(role="user", content="Why does it leak?")], "It is the seal.", "No idea.")
WINS, LOSES, ALWAYS_FIRST, TIES = Reply(1, 0), Reply(0, 1), Reply(1, 1), Reply(0.5, 0.5)


def test_each_contest_is_asked_in_both_orders() -> None:
    one, other = (request[0]["content"] for request in requests([CONTEST]))
    assert one.index("It is the seal.") < one.index("No idea.")
    assert other.index("No idea.") < other.index("It is the seal.")
    assert sorted(one) == sorted(other)
    assert "Why does it leak?" in one


def test_several_turns_are_shown_with_their_roles() -> None:
    turns = [
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Yes?"),
        Message(role="user", content="Go"),
    ]
    assert "user: Hi\nassistant: Yes?\nuser: Go" in requests([CONTEST._replace(prompt=turns)])[0][0]["content"]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Verdict: A", 1),
        ("A is short. B is right.\nVerdict: **B**.", 0),
        ("Verdict: A\nNo, wait.\nVerdict: tie", 0.5),
        ("verdict : b", 0),
        (" B. ", 0),
        ("A", 1),
        ("[[tie]]", 0.5),
        ("A is better than B", None),
        ("Verdict: Answer A or B", None),
        ("", None),
        ("Verdict: Both", None),
    ],
)
def test_a_verdict_is_read_or_is_unreadable(text: str, choice: float | None) -> None:
    assert choice_in(text) == choice


def test_a_judge_that_follows_the_order_ties() -> None:
    assert [one.outcome for one in (WINS, LOSES, ALWAYS_FIRST, TIES, Reply(1, None), Reply(1, 0.5))] == [
        1,
        0,
        *[0.5] * 4,
    ]
    assert replies(["Verdict: A", "Verdict: B", "A", "A"]) == [WINS, ALWAYS_FIRST]
    assert rate([WINS, WINS, LOSES, TIES]).value == pytest.approx(0.625)


def test_habits_are_told_apart_from_quality() -> None:
    contests = [CONTEST] * 4
    always_first = habits(contests, [ALWAYS_FIRST] * 4)
    assert always_first == (1.0, 1.0, 0.0, 0.5)  # no contest is decided, so nothing is known about lengths
    unread = habits(contests, [Reply(None, None)] * 4)
    assert (unread.readable, unread.same_in_both_orders) == (0, 0)
    longer = [CONTEST._replace(second="It is the seal, and " * 9), CONTEST]
    assert habits(longer, [LOSES, WINS]).longer == 1
    assert habits(longer, [WINS, WINS])[1:] == (0.5, 1.0, 0.5)
    assert longer_wins(longer) == 0.5


def test_what_is_said_of_a_judge_at_chance_does_not_let_it_be_believed() -> None:
    figures = {
        **{"name": "m", "agreement": (0.5, 0.4, 0.6), "same": (0.5, 0.45, 0.55), "people": 0.8},
        **{"win_rates": {"dpo": (0.7, 0.6, 0.8)}, "readable": 1, "first_shown": 0.9, "same_in_both_orders": 0.1},
        **{"longer": 0.5, "longer_by_people": 0.4, "questions": 40, "tokens": 1234, "refused": 0},
    }
    assert "no better than chance: do not believe its win rates" in judge_text(figures)
    assert "people agree with each other 0.80" in judge_text(figures)
    good = judge_text({**figures, "agreement": (0.75, 0.7, 0.8), "people": None})
    assert "chance" not in good
    assert "the baseline against itself 0.50 [0.45, 0.55]" in good
