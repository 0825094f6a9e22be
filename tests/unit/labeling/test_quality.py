"""Calibration, repeats and gold: that nothing shown tells them apart, and that they find who answers blindly."""

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.backend import AnnotatorAnswer
from labeling.quality import Share, accuracy, annotator_quality, choose_calibration, consistency, make_checks
from labeling.records import Ranking, SlotMap, Task, stable_random
from labeling.simulated import SimulatedAnnotator


def task(number: int, slots: int = 4) -> Task:
    responses = [f"answer {slot} to {number}" for slot in range(slots)]
    return {
        "id": f"{number:016x}",
        "prompt": [{"role": "user", "content": f"question {number}"}],
        "responses": responses,
    }


def gold(number: int, *ranks: int) -> Ranking:
    responses = [f"known answer {slot}" for slot in range(len(ranks))]
    rankings = [{"annotator": "lead", "ranks": list(ranks)}]
    return {"id": f"gold-{number}", "prompt": f"known {number}", "responses": responses, "rankings": rankings}


def slots_of(tasks: list[Task]) -> SlotMap:
    return {
        row["id"]: [{"answer": slot, "policy": f"policy{slot}"} for slot in range(len(row["responses"]))]
        for row in tasks
    }


def answer(annotator: str, name: str, *ranks: int) -> AnnotatorAnswer:
    return {
        "task": name,
        "annotator": annotator,
        "status": "submitted" if ranks else "discarded",
        "ranks": list(ranks) or None,
        "comment": "",
    }


TASKS = [task(number) for number in range(20)]
GOLD = [gold(number, 1, 2, 3, 4) for number in range(5)]
QUEUE = make_checks(TASKS, slots_of(TASKS), repeats=0.25, gold=GOLD, seed=0)


@given(st.permutations(range(20)), st.integers(0, 25), st.integers(0, 3))
def test_calibration_depends_on_no_order_and_grows_by_adding(order, count, seed):
    chosen, others = choose_calibration([TASKS[index] for index in order], count, seed)
    assert len(chosen) == min(count, 20)
    assert sorted(row["id"] for row in chosen + others) == [row["id"] for row in TASKS]
    assert {row["id"] for row in chosen} == {row["id"] for row in choose_calibration(TASKS, count, seed)[0]}
    more, _ = choose_calibration(TASKS, count + 1, seed)
    assert all(row in more for row in chosen)


def test_calibration_is_a_fair_draw():
    drawn = Counter(row["id"] for seed in range(400) for row in choose_calibration(TASKS, 5, seed)[0])
    assert all(60 <= drawn[row["id"]] <= 145 for row in TASKS)  # 100 expected, 5 standard deviations


def test_everything_is_in_the_queue_once_and_checks_at_the_set_rate():
    names = [row["id"] for row in QUEUE.tasks]
    assert len(set(names)) == len(names) == 20 + 5 + 5
    assert len(QUEUE.checks["repeats"]) == 5
    assert len(QUEUE.checks["gold"]) == 5
    assert json.loads(json.dumps(QUEUE.checks)) == QUEUE.checks


def test_nothing_that_is_shown_tells_a_check_from_a_task():
    assert {tuple(row) for row in QUEUE.tasks} == {("id", "prompt", "responses")}
    assert all(len(row["id"]) == 16 and int(row["id"], 16) >= 0 for row in QUEUE.tasks)
    assert all(row["prompt"][0]["role"] == "user" for row in QUEUE.tasks)
    shown = json.dumps(QUEUE.tasks)
    assert "repeat" not in shown
    assert "gold" not in shown
    assert "policy" not in shown
    kinds = [row["id"] in QUEUE.checks["gold"] for row in QUEUE.tasks]
    assert kinds != sorted(kinds)


@given(st.integers(0, 200), st.floats(0.01, 1), st.integers(2, 40), st.integers(2, 6))
def test_a_repeat_shows_its_original_in_other_slots_and_long_after_it(seed, share, count, slots):
    tasks = [task(number, slots) for number in range(count)]
    queue = make_checks(tasks, slots_of(tasks), repeats=share, gold=GOLD[:2], seed=seed)
    place = {row["id"]: index for index, row in enumerate(queue.tasks)}
    by_id = {row["id"]: row for row in queue.tasks}
    assert len(queue.checks["repeats"]) == max(1, round(share * count))
    for name, repeat in queue.checks["repeats"].items():
        again, original = by_id[name], by_id[repeat["task"]]
        assert again["prompt"] == original["prompt"]
        assert again["responses"] == [original["responses"][slot] for slot in repeat["slots"]]
        assert again["responses"] != original["responses"]
        assert place[name] - place[repeat["task"]] >= count // 2
        for response, slot in zip(again["responses"], queue.slot_map[name], strict=True):
            assert response.startswith(f"answer {slot['answer']} ")


def test_gold_ranks_follow_their_responses_into_the_shuffled_slots():
    by_id = {row["id"]: row for row in QUEUE.tasks}
    for name, ranks in QUEUE.checks["gold"].items():
        assert [f"known answer {rank - 1}" for rank in ranks] == by_id[name]["responses"]
    assert len({tuple(ranks) for ranks in QUEUE.checks["gold"].values()}) > 1


def test_the_queue_depends_on_the_seed_and_not_on_the_order_of_the_tasks():
    backwards = make_checks(TASKS[::-1], slots_of(TASKS), repeats=0.25, gold=GOLD, seed=0)
    assert backwards == QUEUE
    assert make_checks(TASKS, slots_of(TASKS), repeats=0.25, gold=GOLD, seed=1).tasks != QUEUE.tasks


def test_without_checks_the_queue_is_the_tasks():
    queue = make_checks(TASKS, slots_of(TASKS), repeats=0.0, gold=[], seed=0)
    assert sorted(row["id"] for row in queue.tasks) == [row["id"] for row in TASKS]
    assert queue.checks == {"repeats": {}, "gold": {}}
    assert make_checks([], {}, repeats=0.5, gold=[], seed=0).tasks == []


@pytest.mark.parametrize(
    ("repeats", "known", "message"),
    [
        (1.5, [], "between 0 and 1"),
        (float("nan"), [], "between 0 and 1"),
        (0.0, [{**GOLD[0], "rankings": []}], "one row in 'rankings', but has 0"),
        (0.0, [{**GOLD[0], "rankings": GOLD[0]["rankings"] * 2}], "occurs twice"),
        (0.0, [{**GOLD[0], "rankings": [{"annotator": "lead", "ranks": [1, 2]}]}], "2 ranks for 4 responses"),
        (0.0, [GOLD[0], GOLD[0]], "same id"),
    ],
)
def test_checks_that_cannot_be_made_are_refused(repeats, known, message):
    with pytest.raises(ValueError, match=message):
        make_checks(TASKS, slots_of(TASKS), repeats=repeats, gold=known, seed=0)


def test_consistency_counts_pairs_ordered_alike_both_times():
    repeats = {"again": {"task": "first", "slots": [2, 0, 1]}}
    answers = [
        answer("same", "first", 1, 2, 2),
        answer("same", "again", 2, 1, 2),  # the same judgement, in the other slots
        answer("by slot", "first", 1, 2, 3),
        answer("by slot", "again", 1, 2, 3),  # with any ranks: only slots 0 and 1 of the original agree
        answer("once", "again", 1, 2, 3),
        answer("discarder", "first", 1, 2, 3),
        answer("discarder", "again"),
    ]
    assert consistency(answers, repeats) == {"by slot": Share(1 / 3, 3, 1), "same": Share(1.0, 3, 1)}


def test_accuracy_counts_the_pairs_that_gold_orders():
    answers = [answer("right", "known", 2, 2, 1), answer("tied", "known", 1, 1, 1), answer("wrong", "known", 1, 2, 3)]
    assert accuracy(answers, {"known": [2, 2, 1]}) == {
        "right": Share(1.0, 2, 1),
        "tied": Share(0.0, 2, 1),
        "wrong": Share(0.0, 2, 1),
    }
    assert accuracy(answers, {}) == {}


def test_checks_find_who_answers_blindly_or_by_the_slot():
    """Chance is 1/2 on both, and the careful one is far above it."""
    tasks = [task(number) for number in range(200)]
    known = [gold(number, 1, 2, 3, 4) for number in range(100)]
    queue = make_checks(tasks, slots_of(tasks), repeats=0.5, gold=known, seed=0)

    def quality(prompt, response: str) -> float:
        return -float(response.split()[1 if response.startswith("answer") else 2])

    careful = SimulatedAnnotator("careful", noise=0.3)
    answers = [answer("careful", row["id"], *careful.rank(row, quality, 0)) for row in queue.tasks]
    answers += [answer("slots", row["id"], 1, 2, 3, 4) for row in queue.tasks]
    answers += [
        answer("blind", row["id"], *stable_random("blind", row["id"]).sample([1, 2, 3, 4], 4)) for row in queue.tasks
    ]
    answers.append(answer("idle", queue.tasks[0]["id"]))
    found = annotator_quality(answers, [], queue.checks)
    assert list(found) == ["blind", "careful", "idle", "slots"]
    assert found["careful"].consistency.share > 0.95
    assert found["careful"].accuracy.share > 0.95
    for name in ("blind", "slots"):
        assert found[name].consistency.comparisons == found[name].accuracy.comparisons == 600
        assert found[name].accuracy.share == pytest.approx(0.5, abs=0.08)
        assert found[name].consistency.share < 0.58
    assert (found["blind"].submitted, found["blind"].discarded) == (400, 0)
    assert (found["idle"].submitted, found["idle"].discarded) == (0, 1)
    assert math.isnan(found["idle"].consistency.share)


def test_agreement_with_the_others_is_that_of_the_rankings():
    rankings: list[Ranking] = [
        {
            "id": "r",
            "prompt": "?",
            "responses": ["a", "b"],
            "rankings": [
                {"annotator": "x", "ranks": [1, 2]},
                {"annotator": "y", "ranks": [1, 2]},
                {"annotator": "z", "ranks": [2, 1]},
            ],
        }
    ]
    found = annotator_quality([answer("x", "r", 1, 2)], rankings, {"repeats": {}, "gold": {}})
    assert found["z"].agreement == Share(0.0, 1)
    assert found["x"].agreement.comparisons == 0  # the others do not agree
    assert [row.submitted for row in found.values()] == [1, 0, 0]
