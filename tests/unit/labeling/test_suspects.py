"""Annotators not to rely on are named with the reason, and no other annotator is."""

import random
from collections.abc import Callable, Sequence

import pytest

from benchmarks.annotators import named, ranked, team
from labeling.intervals import Estimate
from labeling.pace import Pace
from labeling.records import Ranking, Ranks
from labeling.suspects import critical_value, exclusion, sentence, standings, suspects

Answer = Callable[[random.Random, Sequence[float]], list[int]]


def ranks_of(scores: Sequence[float]) -> list[int]:
    return [1 + sum(other > score for other in scores) for score in scores]


def careful(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return ranks_of([score + draw.gauss(0, 0.5) for score in truth])


def blind(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return draw.sample(range(1, len(truth) + 1), len(truth))


def by_slot(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return list(range(1, len(truth) + 1))


def turned(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return [len(truth) + 1 - rank for rank in careful(draw, truth)]


def always_tied(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return [1] * len(truth)


def rankings(people: dict[str, Answer], prompts: int, responses: int = 2, seed: int = 0) -> list[Ranking]:
    draw, made = random.Random(seed), []
    for number in range(prompts):
        truth = [draw.gauss(0, 1) for _ in range(responses)]
        rows = [Ranks(annotator=name, ranks=answer(draw, truth)) for name, answer in people.items()]
        texts = [f"{number} {slot}" for slot in range(responses)]
        made.append(Ranking(id=str(number), prompt=str(number), responses=texts, rankings=rows))
    return made


def reasons(given: Sequence[Ranking]) -> dict[str, str]:
    return {one.name: one.reason for one in suspects(standings(given), {})}


GOOD: dict[str, Answer] = dict.fromkeys(("ann", "ben", "cleo"), careful)


@pytest.mark.parametrize(
    ("spammer", "reason"), [(blind, "chance"), (by_slot, "chance"), (turned, "inverse"), (always_tied, "chance")]
)
@pytest.mark.parametrize("responses", [2, 4])
def test_only_a_spammer_is_named(spammer: Answer, reason: str, responses: int) -> None:
    for seed in range(3):
        assert reasons(rankings({**GOOD, "zed": spammer}, 300, responses, seed)) == {"zed": reason}


def test_in_teams_of_five_the_random_and_the_inverse_annotator_are_named_and_no_other() -> None:
    """From 100 tasks with 4 responses on, each annotated by three of them."""
    for seed in range(10):
        found = named(team(3, random=1, inverse=1), 100, 4, seed)
        assert found == {"random0": "chance", "inverse0": "inverse"}


def test_a_random_annotator_who_agrees_a_little_by_luck_is_named_with_what_counts_as_chance() -> None:
    found = suspects(standings(ranked(team(3, random=1, inverse=1), 100, 4, seed=1)), {})
    assert found[1].says == (
        "reliability 0.20 [0.05, 0.36] over 60 tasks, median 0.74; up to 0.07 is as good as chance"
    )
    assert "chance" not in found[0].says


def test_in_teams_of_twenty_honest_annotators_no_one_is_named() -> None:
    """200 seeds: `benchmarks/annotators.py`."""
    for seed in range(3):
        assert named(team(20, noise=1.0), 140, 4, seed) == {}


def test_no_annotator_is_named_where_none_agree_and_where_as_many_reverse_as_do_not() -> None:
    for seed in range(5):
        assert reasons(rankings(dict.fromkeys(GOOD, blind), 100, seed=seed)) == {}
        split: dict[str, Answer] = {"ann": careful, "ben": careful, "yan": turned, "zed": turned}
        assert reasons(rankings(split, 100, seed=seed)) == {}


def test_few_answers_and_two_people_leave_open_who_is_at_fault() -> None:
    assert reasons(rankings({**GOOD, "zed": turned}, 19)) == {}
    assert reasons(rankings({"ann": careful, "zed": turned}, 200)) == {}


def test_unnamed_votes_are_compared_with_and_are_never_named() -> None:
    given = rankings({**GOOD, "unnamed 1": blind, "zed": blind}, 200)
    assert list(standings(given)) == ["ann", "ben", "cleo", "zed"]
    assert reasons(given) == {"zed": "chance"}
    assert standings([]) == {}
    assert standings(rankings({"ann": careful}, 30)) == {}


def test_the_order_of_responses_changes_nothing() -> None:
    plain = rankings({**GOOD, "zed": blind}, 100, 3)
    turned_round = [
        Ranking(
            id=one["id"],
            prompt=one["prompt"],
            responses=one["responses"][::-1],
            rankings=[Ranks(annotator=r["annotator"], ranks=r["ranks"][::-1]) for r in one["rankings"]],
        )
        for one in plain
    ]
    for name, standing in standings(plain).items():
        assert standings(turned_round)[name] == pytest.approx(standing)


def test_reliability_is_the_share_of_right_votes_on_a_scale_from_minus_one_to_one() -> None:
    """Two who are always right, and one who is right in 80 of 100 pairs: 2 * 0.8 - 1."""
    given = []
    for number in range(100):
        ranks = {"ann": [1, 2], "ben": [1, 2], "cleo": [1, 2] if number % 5 else [2, 1]}
        rows = [Ranks(annotator=name, ranks=own) for name, own in ranks.items()]
        given.append(Ranking(id=str(number), prompt="?", responses=["a", "b"], rankings=rows))
    known = standings(given)["cleo"]
    assert known.reliability == pytest.approx(0.6, abs=0.01)
    assert known.error == pytest.approx(2 * (0.8 * 0.2 / 100) ** 0.5, rel=0.05)
    assert known.tasks == 100


def pace(too_fast: int, timed: int) -> Pace:
    return Pace(Estimate(4.0, 3.0, 5.0), 11.0, too_fast, timed)


def test_who_answers_most_tasks_faster_than_they_can_be_read_is_named() -> None:
    paces = {"ann": pace(3, 40), "ben": pace(22, 40), "cleo": pace(36, 40), "dora": pace(9, 9)}
    (found,) = suspects({}, paces)
    assert (found.name, found.reason) == ("cleo", "fast")
    says = "cleo answers faster than the texts can be read (36 of 40 answers; median 4 s, where reading takes 11 s or"
    assert says in sentence([found])


def test_the_more_annotators_the_more_it_takes_to_be_named() -> None:
    assert critical_value(1) == pytest.approx(1.96, abs=0.01)
    assert critical_value(20) == pytest.approx(3.02, abs=0.01)


def test_the_line_that_leaves_out_names_each_once() -> None:
    found = suspects(standings(rankings({**GOOD, "zed": blind}, 200)), {"zed": pace(40, 40)})
    assert [one.reason for one in found] == ["chance", "fast"]
    assert exclusion(found) == """'preferences.exclude=["zed"]'"""
    assert sentence(found).startswith("1 annotator is not to be relied on: zed is not distinguishable")
