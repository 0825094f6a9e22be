"""Which prompts are left for one person to decide, and what that person sees."""

from markdown_it import MarkdownIt

from labeling.adjudication import divided, with_opinions
from labeling.backend import adjudication_of
from labeling.projects import AnsweredRound
from tests.labeling_projects import task
from tests.unit.labeling.test_opinions import answer


def answered(**ranks: list[list[int]]) -> AnsweredRound:
    given = [answer(name, f"p{k}", one or None) for name, own in ranks.items() for k, one in enumerate(own)]
    tasks = [task(name, "?", ["x", "y"]) for name in ranks]
    checks = {"repeats": {"again": {"task": "a", "slots": [1, 0]}}, "gold": {"gold": [1, 2]}}
    return AnsweredRound("r", "publish", "ranking", tasks, frozenset(), given, checks, "", "", ["q"], [])  # type: ignore[arg-type]


def test_divided_prompts_with_all_their_answers_are_left_and_others_wait_or_are_settled() -> None:
    one, other = [1, 2], [2, 1]
    asked = answered(
        a=[one, other],
        b=[one, one],
        c=[one, other, one],
        d=[one, other, one, other],
        e=[one],
        f=[one, other],
        again=[one, other],
        gold=[one, other],
        known=[one, other],
        tie=[[1, 1], one],
        left=[one, other, []],
    )
    found = divided(
        asked, {**dict.fromkeys((one["id"] for one in asked.tasks), 2), "d": 4, "f": 4, "left": 3}, {"known"}
    )
    assert [one["id"] for one in found.tasks] == ["a", "d", "left"]
    assert found.waiting == 1


def test_all_opinions_are_shown_with_their_comments_and_no_comment_is_markup() -> None:
    hostile = "a | b\n\n<img src=x onerror=alert(1)> **bold** [x](http://e)"
    answers = [answer("a", "zoe", [2, 1]), answer("a", "a_n*n", [1, 2]), answer("a", "ben", None)]
    answers[0]["comment"] = answers[2]["comment"] = hostile
    original = task("a", "?", ["x", "y"])
    shown = with_opinions(original, answers)
    assert shown["prompt"][:-1] == original["prompt"]
    assert (shown["id"], shown["responses"]) == (original["id"], original["responses"])
    html = MarkdownIt("commonmark").enable("table").render(shown["prompt"][-1]["content"])
    assert html.count("<tr>") == 4
    assert html.count("<td") == 3 * 3
    assert html.count("<li>") == 2
    assert not any(tag in html for tag in ("<img", "<a ", "<strong>bold", "<em>"))
    assert html.index("a_n*n") < html.index("ben") < html.index("zoe")


def test_parts_of_a_round_have_one_queue_of_decisions() -> None:
    for name in (
        "t-abc123",
        "t-abc123-calibration",
        "t-abc123-of-3",
        "t-abc123-calibration-of-2",
        "t-abc123-adjudication-of-3",
    ):
        assert adjudication_of(name) == "t-abc123-adjudication"
