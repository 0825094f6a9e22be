"""Answers that were marked one by one: who counts, what is good, and that the parts of the split share no prompt."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.formats.judgement import Marked
from pipeline.data.judgements.loading import LoadingOptions, load_judgements
from pipeline.data.judgements.marked import good_or_bad, marked_answers, split_marked
from pipeline.data.judgements.pooling import Split, preferences_from_rankings, split_preferences
from pipeline.data.rows import prompt_id


def mark(prompt: str, answer: str, score: float, annotator: str | None = None) -> Marked:
    return Marked([{"role": "user", "content": prompt}], answer, score, annotator)


def seen(marks: list[Marked], **options: Any) -> list[tuple[str, str, bool]]:
    rows = marked_answers(marks, **options).rows
    return [(row["prompt"][0]["content"], row["answer"][0]["content"], row["good"]) for row in rows]


def test_an_answer_is_good_if_most_marks_say_so_and_a_draw_is_left_out() -> None:
    marks = [mark("q", "a", 1), mark("q", "A ", 1), mark("q", "a", 0), mark("q", "b", 0), mark("q", "c", 1),
             mark("q", "c", 0)]  # fmt: skip
    assert seen(marks) == [("q", "a", True), ("q", "b", False)]
    assert marked_answers(marks).ties == 1


def test_annotators_can_be_left_out() -> None:
    marks = [mark("q", "a", 1, "Ann"), mark("q", "a", 0, "Bob"), mark("q", "a", 0, "Cy"), mark("q", "b", 1)]
    assert seen(marks, without={"bob", "cy "}) == [("q", "a", True), ("q", "b", True)]


def test_a_score_of_a_longer_scale_is_neither_good_nor_bad() -> None:
    """Whatever half of the scale it is in; what all marks look like decides."""
    assert good_or_bad([mark("q", "a", 1), mark("q", "b", 4)]) == []
    assert [one.score for one in good_or_bad([mark("q", "a", 1), mark("q", "b", -1)])] == [1.0, 0.0]
    assert [one.score for one in good_or_bad([mark("q", "a", 1), mark("q", "b", 0)])] == [1.0, 0.0]
    assert good_or_bad([mark("q", "a", 1), mark("q", "b", 0), mark("q", "c", -1)]) == []


def lines(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "thumbs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_marks_are_kept_beside_the_rankings_that_they_make_up(tmp_path: Path) -> None:
    def row(prompt: str, answer: str, label: bool, annotator: str) -> dict[str, Any]:
        return {"prompt": prompt, "completion": answer, "label": label, "annotator": annotator}

    rows = [row("q", "good", True, "ann@example.org"), row("q", "bad", False, "ann@example.org"),
            row("q", "bad", True, "Bob"), row("q", "bad", False, "Bob"), row("alone", "fine", True, "Bob")]  # fmt: skip
    loaded = load_judgements(lines(tmp_path, *rows), LoadingOptions())
    assert len(loaded.rankings) == 1
    assert seen([*loaded.marks]) == [("q", "good", True), ("q", "bad", False), ("alone", "fine", True)]
    people = {one["annotator"] for one in loaded.rankings[0]["rankings"]}
    assert people & {one.annotator for one in loaded.marks}  # the pseudonym of both is the same
    assert not any("@" in (one.annotator or "") for one in loaded.marks)


def test_answers_that_were_all_marked_alone_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "completion": "a", "label": i % 2 == 0} for i in range(6)]
    loaded = load_judgements(lines(tmp_path, *rows), LoadingOptions())
    assert (loaded.rankings, loaded.pairs, len(loaded.marks)) == ([], [], 6)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.booleans()), max_size=60), st.integers(0, 9))
def test_no_part_sees_a_prompt_of_another_and_none_one_of_the_judges(
    marks: list[tuple[int, int, bool]], seed: int
) -> None:
    rows = marked_answers([mark(f"q{prompt}", f"a{answer}", good) for prompt, answer, good in marks]).rows
    rankings = [
        {"id": f"r{i}", "prompt": f"q{i}", "responses": ["a", "b"], "rankings": [{"annotator": "x", "ranks": [1, 2]}]}
        for i in range(12)
    ]
    pairs = split_preferences(preferences_from_rankings(rankings).rows, 0.25, seed, judge_share=0.25)
    parts = split_marked(rows, pairs, 0.25, seed)
    prompts = {name: {prompt_id(row["prompt"]) for row in part} for name, part in parts.items()}
    of_pairs = {name: {prompt_id(row["prompt"]) for row in part} for name, part in pairs._asdict().items()}
    assert not prompts["train"] & (prompts["test"] | of_pairs["test"] | of_pairs["judge"] | of_pairs["judge_test"])
    assert not prompts["test"] & (of_pairs["train"] | of_pairs["judge"] | of_pairs["judge_test"])
    judged = of_pairs["judge"] | of_pairs["judge_test"]
    assert sum(map(len, parts.values())) == sum(prompt_id(row["prompt"]) not in judged for row in rows)


def test_prompts_without_pairs_are_split_by_themselves() -> None:
    rows = marked_answers([mark(f"q{i}", "a", i % 2) for i in range(40)]).rows
    parts = split_marked(rows, Split([], [], [], []), 0.25, 0)
    assert (len(parts["train"]), len(parts["test"])) == (30, 10)
    assert split_marked(rows[::-1], Split([], [], [], []), 0.25, 0)["test"] == parts["test"][::-1]
