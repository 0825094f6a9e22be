"""Tasks, slots and ranks."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.records import Sample, check_ranking, compare, make_tasks, ranks_from_scores

scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def sample(number: int, policies: tuple[str, ...] = ("policy-sft", "policy-dpo", "policy-base")) -> Sample:
    return {
        "id": f"task-{number}",
        "prompt": [{"role": "user", "content": f"question {number}"}],
        "answers": [{"text": f"answer {slot} to {number}", "policy": name} for slot, name in enumerate(policies)],
    }


@given(scores, st.floats(0, 10))
def test_a_rank_is_one_more_than_the_number_of_better_responses(scores, tie_width):
    ranks = ranks_from_scores(scores, tie_width)
    assert all(rank == 1 + sum(other < rank for other in ranks) for rank in ranks)


@given(scores, st.floats(0, 10))
def test_ranks_follow_the_scores_and_only_close_scores_are_tied(scores, tie_width):
    ranks = ranks_from_scores(scores, tie_width)
    for one, first in zip(ranks, scores, strict=True):
        for other, second in zip(ranks, scores, strict=True):
            if one < other:
                assert first > second
            if one == other:
                assert abs(first - second) <= tie_width


@pytest.mark.parametrize(
    ("scores", "tie_width", "ranks"),
    [
        ([0.1, 0.9, 0.5], 0.0, [3, 1, 2]),
        ([0.5, 0.9, 0.5], 0.0, [2, 1, 2]),
        ([0.9, 0.9, 0.5], 0.0, [1, 1, 3]),
        ([0.0, 0.9, 1.8], 1.0, [3, 1, 1]),  # a chain of small steps: 0.0 is close to 0.9, but not to the tie's best
        ([1.0, 2.0], 1.0, [1, 1]),
        ([], 0.0, []),
    ],
)
def test_ranks_from_scores(scores, tie_width, ranks):
    assert ranks_from_scores(scores, tie_width) == ranks


@pytest.mark.parametrize(("scores", "tie_width"), [([1.0, float("nan")], 0.0), ([1.0], -0.1), ([1.0], float("nan"))])
def test_scores_without_an_order_are_refused(scores, tie_width):
    with pytest.raises(ValueError, match=r"NaN|tie_width"):
        ranks_from_scores(scores, tie_width)


def test_compare():
    assert [compare([1, 2, 2], *slots) for slots in [(0, 1), (1, 0), (1, 2)]] == [1, -1, 0]


def test_the_slot_map_leads_back_to_the_sampled_answers():
    samples = [sample(number) for number in range(20)]
    tasks, slot_map = make_tasks(samples, seed=0)
    for task, source in zip(tasks, samples, strict=True):
        slots = slot_map[task["id"]]
        assert sorted(slot["answer"] for slot in slots) == [0, 1, 2]
        for response, slot in zip(task["responses"], slots, strict=True):
            assert source["answers"][slot["answer"]] == {"text": response, "policy": slot["policy"]}


def test_tasks_say_nothing_of_policies():
    tasks, _ = make_tasks([sample(number) for number in range(20)], seed=0)
    assert "policy" not in json.dumps(tasks)
    assert all(task.keys() == {"id", "prompt", "responses"} for task in tasks)


def test_no_policy_shows_by_its_slot():
    _, slot_map = make_tasks([sample(number) for number in range(600)], seed=0)
    seen = Counter((slot["policy"], position) for slots in slot_map.values() for position, slot in enumerate(slots))
    # 200 expected in each of the 9 places, with a standard deviation of 11.5.
    assert len(seen) == 9
    assert all(abs(count - 200) < 50 for count in seen.values())


def test_slots_depend_on_the_seed_and_on_the_task_alone():
    samples = [sample(number) for number in range(20)]
    tasks, slot_map = make_tasks(samples, seed=0)
    again, _ = make_tasks(samples[::-1][:7], seed=0)
    assert again == tasks[::-1][:7]
    assert make_tasks(samples, seed=1)[1] != slot_map


def test_a_single_answer_is_no_task():
    tasks, slot_map = make_tasks([sample(0, ("only",)), sample(1)], seed=0)
    assert [task["id"] for task in tasks] == list(slot_map) == ["task-1"]


def test_two_samples_of_one_id_are_refused():
    with pytest.raises(ValueError, match="task-3"):
        make_tasks([sample(3), sample(3)], seed=0)


@pytest.mark.parametrize(
    ("responses", "rankings", "message"),
    [
        (["a"], [], "two responses"),
        (["a", "b"], [("ann", [1])], "'ann' gave 1 ranks for 2 responses"),
        (["a", "b"], [("ann", [0, 1])], "from 1 upwards"),
        (["a", "b"], [("ann", [1.0, 2.0])], "whole numbers"),
        (["a", "b"], [("ann", [1, 2]), ("ann", [2, 1])], "'ann' occurs twice"),
    ],
)
def test_rankings_that_cannot_be_read_are_refused_by_name(responses, rankings, message):
    rows = [{"annotator": name, "ranks": ranks} for name, ranks in rankings]
    with pytest.raises(ValueError, match=message) as caught:
        check_ranking({"id": "r7", "prompt": "p", "responses": responses, "rankings": rows})
    assert "'r7'" in str(caught.value)
