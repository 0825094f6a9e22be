"""Agreement with the others beside that of random answers."""

import random
from collections.abc import Callable, Sequence

import pytest

from labeling.chance import against_chance
from labeling.records import Ranking, Ranks

Answer = Callable[[random.Random, Sequence[float]], list[int]]


def ranks_of(scores: Sequence[float]) -> list[int]:
    return [1 + sum(other > score for other in scores) for score in scores]


def careful(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return ranks_of([score + draw.gauss(0, 0.5) for score in truth])


def blind(draw: random.Random, truth: Sequence[float]) -> list[int]:
    return draw.sample(range(1, len(truth) + 1), len(truth))


def rankings(people: dict[str, Answer], prompts: int, responses: int = 2, seed: int = 0) -> list[Ranking]:
    draw, made = random.Random(seed), []
    for number in range(prompts):
        truth = [draw.gauss(0, 1) for _ in range(responses)]
        rows = [Ranks(annotator=name, ranks=answer(draw, truth)) for name, answer in people.items()]
        texts = [f"{number} {slot}" for slot in range(responses)]
        made.append(Ranking(id=str(number), prompt=str(number), responses=texts, rankings=rows))
    return made


GOOD: dict[str, Answer] = dict.fromkeys(("ann", "ben", "cleo"), careful)


def test_the_order_of_responses_changes_nothing_even_where_the_better_one_is_always_first() -> None:
    """Files of chosen and rejected answers put what the majority chose first."""
    plain = rankings({**GOOD, "zed": blind}, 400)
    first = []
    for ranking in plain:
        votes = sum(row["ranks"][0] < row["ranks"][1] for row in ranking["rankings"])
        swap = votes < 2
        rows = [
            Ranks(annotator=r["annotator"], ranks=r["ranks"][::-1] if swap else r["ranks"]) for r in ranking["rankings"]
        ]
        first.append(Ranking(**{**ranking, "rankings": rows}))
    assert against_chance(plain)["zed"] == pytest.approx(against_chance(first)["zed"])


def test_agreement_is_counted_by_hand() -> None:
    """Three people, one pair: x and y choose the first, z the second."""
    given = [Ranking(id="r", prompt="?", responses=["a", "b"], rankings=[])]
    given[0]["rankings"] = [Ranks(annotator=n, ranks=r) for n, r in (("x", [1, 2]), ("y", [1, 2]), ("z", [2, 1]))]
    known = against_chance(given)
    assert {name: (one.agreement, one.chance, one.comparisons) for name, one in known.items()} == {
        "x": (0.5, 0.5, 2),
        "y": (0.5, 0.5, 2),
        "z": (0.0, 0.5, 2),
    }


def test_unnamed_votes_are_compared_with_and_are_not_annotators() -> None:
    given = rankings({"unnamed 1": careful, "unnamed 2": careful, "ann": careful}, 30)
    assert list(against_chance(given)) == ["ann"]
    assert against_chance(rankings({"ann": careful}, 30)) == {}
