"""Simulated annotators: their ranks show the known noise and bias."""

import math
from collections import Counter
from itertools import combinations, pairwise
from statistics import NormalDist

import pytest

from labeling.agreement import agreement_metrics, agreement_with_others, pairwise_agreement
from labeling.records import Task
from labeling.simulated import SimulatedAnnotator, annotate, assign


def quality(prompt, response):
    """The last word of a response is its quality."""
    return float(response.split()[-1])


def make(number: int, *qualities: float) -> Task:
    prompt = [{"role": "user", "content": f"question {number}"}]
    responses = [f"answer {letter} {value}" for letter, value in zip("abcdef", qualities, strict=False)]
    return {"id": f"task-{number}", "prompt": prompt, "responses": responses}


def crew(count: int, **settings: float) -> list[SimulatedAnnotator]:
    return [SimulatedAnnotator(f"annotator{number}", **settings) for number in range(1, count + 1)]


FOURS = [make(number, 0.0, 1.0, 2.0, 3.0) for number in range(150)]
PAIRS = [make(number, 0.0, 1.0) for number in range(3000)]


def test_annotators_without_noise_are_right_and_agree_perfectly():
    rankings = annotate(FOURS, crew(3), 3, 0, quality)
    assert all(row["ranks"] == [4, 3, 2, 1] for ranking in rankings for row in ranking["rankings"])
    # As floats come: alpha sums squared differences.
    assert agreement_metrics(rankings) == pytest.approx({"alpha": 1, "kendall_w": 1, "pairwise_agreement": 1})


def test_agreement_falls_as_noise_grows():
    found = [agreement_metrics(annotate(FOURS, crew(3, noise=noise), 3, 0, quality)) for noise in (0.1, 0.5, 1, 2, 8)]
    for metric in ("alpha", "kendall_w", "pairwise_agreement"):
        assert all(one[metric] > other[metric] for one, other in pairwise(found)), metric


def outcome_probabilities(gap: float, noise: float, tie_width: float = 0.0) -> tuple[float, float, float]:
    """(better preferred, tie, worse preferred) for two responses that differ by ``gap``, as the module's docstring."""
    difference = NormalDist(gap, noise * math.sqrt(2))
    better, worse = 1 - difference.cdf(tie_width), difference.cdf(-tie_width)
    return better, 1 - better - worse, worse


def expected_agreement(gap: float, noise: float, tie_width: float = 0.0) -> float:
    """The probability that two such annotators order the two responses in the same way, ties included."""
    return sum(probability**2 for probability in outcome_probabilities(gap, noise, tie_width))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("tie_width", [0.0, 0.7])
def test_accuracy_and_agreement_follow_from_the_noise(noise, tie_width):
    rankings = annotate(PAIRS, crew(2, noise=noise, tie_width=tie_width), 2, 0, quality)
    better, tie, worse = outcome_probabilities(1.0, noise, tie_width)
    seen = Counter(tuple(row["ranks"]) for ranking in rankings for row in ranking["rankings"])
    # 6,000 judgements, 3,000 comparisons: standard errors up to 0.0065 and 0.0092.
    assert seen[2, 1] / 6000 == pytest.approx(better, abs=0.026)
    assert seen[1, 1] / 6000 == pytest.approx(tie, abs=0.026)
    assert seen[1, 2] / 6000 == pytest.approx(worse, abs=0.026)
    assert pairwise_agreement(rankings) == pytest.approx(expected_agreement(1.0, noise, tie_width), abs=0.036)


def test_the_table_in_the_docstring():
    accuracies = [round(outcome_probabilities(1, noise)[0], 2) for noise in (0.25, 0.5, 1, 2, 4)]
    agreements = [round(expected_agreement(1, noise), 2) for noise in (0.25, 0.5, 1, 2, 4)]
    assert accuracies == [1.00, 0.92, 0.76, 0.64, 0.57]
    assert agreements == [1.00, 0.86, 0.64, 0.54, 0.51]


def test_a_judgement_depends_on_its_task_alone():
    annotator = SimulatedAnnotator("annotator1", noise=5.0)
    ranks = [annotator.rank(task, quality, seed=0) for task in FOURS]
    assert [annotator.rank(task, quality, seed=0) for task in FOURS[::-1]] == ranks[::-1]
    assert [annotator.rank(task, quality, seed=1) for task in FOURS] != ranks
    assert [SimulatedAnnotator("annotator2", noise=5.0).rank(task, quality, seed=0) for task in FOURS] != ranks


def test_a_judgement_does_not_depend_on_the_slots():
    annotator = SimulatedAnnotator("annotator1", noise=5.0)
    for task in FOURS:
        turned: Task = {**task, "responses": task["responses"][::-1]}
        assert annotator.rank(turned, quality, seed=0) == annotator.rank(task, quality, seed=0)[::-1]


def test_length_bias_is_worth_its_points_per_doubling():
    task: Task = {**FOURS[0], "responses": ["word 1.0", "one two four words and more words 0.0"]}  # 2 and 8 words
    assert SimulatedAnnotator("fair").rank(task, quality, 0) == [1, 2]
    assert SimulatedAnnotator("biased", length_bias=0.49).rank(task, quality, 0) == [1, 2]
    assert SimulatedAnnotator("biased", length_bias=0.51).rank(task, quality, 0) == [2, 1]
    assert SimulatedAnnotator("biased", length_bias=1.0).rank({**task, "responses": ["", "0"]}, lambda *_: 0.0, 0) == [
        1,
        1,
    ]


def test_a_random_annotator_agrees_least_with_the_others():
    annotators = [*crew(4, noise=0.5), SimulatedAnnotator("spammer", noise=1e6)]
    pair_with_others = agreement_with_others(annotate(FOURS, annotators, 3, 0, quality))
    assert min(pair_with_others, key=lambda name: pair_with_others[name].agreement) == "spammer"
    assert pair_with_others["spammer"].agreement == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("annotators", "overlap"), [(1, 1), (3, 1), (3, 2), (4, 2), (5, 3), (5, 5)])
def test_tasks_are_shared_out_evenly(annotators, overlap):
    names = [annotator.name for annotator in crew(annotators)]
    ids = [task["id"] for task in FOURS]
    assigned = assign(ids, names, overlap, seed=0)
    load = Counter(name for chosen in assigned.values() for name in chosen)
    assert all(len(set(chosen)) == overlap for chosen in assigned.values())
    assert max(load.values()) - min(load[name] for name in names) <= 1
    assert assigned == assign(ids[::-1], names[::-1], overlap, seed=0)
    if overlap >= 2:
        together = {pair for chosen in assigned.values() for pair in combinations(chosen, 2)}
        assert len(together) == annotators * (annotators - 1) // 2


def test_rankings_come_in_the_order_of_the_tasks():
    rankings = annotate(FOURS[::-1], crew(3, noise=1), 2, 0, quality)
    assert rankings == annotate(FOURS, crew(3, noise=1), 2, 0, quality)[::-1]
    assert all(ranking["responses"] == FOURS[0]["responses"] for ranking in rankings)


@pytest.mark.parametrize("overlap", [0, 4])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        annotate(FOURS, crew(3), overlap, 0, quality)


def test_odd_annotators_are_refused():
    with pytest.raises(ValueError, match="same name"):
        annotate(FOURS, crew(1) * 2, 1, 0, quality)
    with pytest.raises(ValueError, match="noise"):
        SimulatedAnnotator("annotator1", noise=-1.0)
    with pytest.raises(ValueError, match="tie_width"):
        SimulatedAnnotator("annotator1", tie_width=float("nan"))
