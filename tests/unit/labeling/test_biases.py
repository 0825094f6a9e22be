"""Whether annotators prefer the response shown first, or the longer one."""

import pytest

from labeling.biases import prefers_first, prefers_longer
from labeling.quality import Share
from labeling.records import Message, Ranking, Ranks, Task, stable_random
from labeling.simulated import SimulatedAnnotator, annotate


def test_the_shares_are_counted_by_hand_without_ties_and_without_equal_lengths() -> None:
    rows = [Ranks(annotator="ann", ranks=[1, 2, 2]), Ranks(annotator="ben", ranks=[1, 1, 1])]
    given = [Ranking(id="r", prompt="?", responses=["ab", "abc", "ab"], rankings=rows)]
    assert prefers_first(given) == {"ann": Share(1.0, 2, 1)}
    assert prefers_longer(given) == {"ann": Share(0.0, 1, 1)}


def test_the_interval_counts_tasks_and_not_pairs() -> None:
    rows = [Ranks(annotator="ann", ranks=[1, 2, 3, 4])]
    one = Ranking(id="r", prompt="?", responses=["a", "bb", "ccc", "dddd"], rankings=rows)
    share = prefers_first([one] * 10)["ann"]
    assert share == Share(1.0, 60, 10)
    assert share.interval().low == pytest.approx(0.7225, abs=1e-4)  # Wilson's for 10 of 10


def test_a_bias_for_length_is_found_beside_annotators_without_one() -> None:
    tasks = [
        Task(
            id=str(number),
            prompt=[Message(role="user", content=str(number))],
            responses=["word " * stable_random(number, slot).randint(1, 60) for slot in range(3)],
        )
        for number in range(150)
    ]
    people = [SimulatedAnnotator("plain", noise=0.5), SimulatedAnnotator("long", noise=0.5, length_bias=0.8)]
    given = annotate(
        tasks, people, 2, 0, lambda prompt, response: stable_random(prompt[0]["content"], response).random()
    )
    longer, first = prefers_longer(given), prefers_first(given)
    assert longer["long"].interval().low > longer["plain"].interval().high
    assert all(share.interval().low < 0.5 < share.interval().high for share in first.values())
