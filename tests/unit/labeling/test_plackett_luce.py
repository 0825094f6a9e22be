"""Plackett and Luce's model with a precision of each annotator: against scipy, and against sums over all worths."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize

from benchmarks.annotators import quality, ranked, team
from labeling.plackett_luce import DEVIATION, FIRST_PRECISION, crowd_plackett_luce, prior_worths, with_worths
from labeling.records import Ranking
from labeling.strict_orders import Ranked, strict_orders

SIZE = 3
SIGNS = tuple(product((1, -1), repeat=2))


def opinions(rankings: list[Ranking]) -> list[Ranked]:
    """Each ranking's responses have numbers of their own."""
    return [
        Ranked(number, row["annotator"], row["annotator"], range(first, first + len(row["ranks"])), row["ranks"])
        for number, ranking in enumerate(rankings)
        for first in (number * len(ranking["responses"]),)
        for row in ranking["rankings"]
    ]


def log_probability(worths: np.ndarray, ranks: list[float]) -> float:
    """Of a ranking without ties: half from the best answer down, half from the worst one up."""
    total = 0.0
    for sign, order in ((1, np.argsort(ranks)), (-1, np.argsort(ranks)[::-1])):
        left = [sign * worths[slot] for slot in order]
        total += sum(value - np.log(np.sum(np.exp(left[place:]))) for place, value in enumerate(left)) / 2
    return total


def mean_log_probability(worths: np.ndarray, ranks: list[float]) -> float:
    """The mean over all ways to break ties, each of two answers."""
    tied = [pair for pair in combinations(range(len(ranks)), 2) if ranks[pair[0]] == ranks[pair[1]]]
    ways = []
    for signs in product((0.1, -0.1), repeat=len(tied)):
        way = [float(rank) for rank in ranks]
        for sign, (first, second) in zip(signs, tied, strict=True):
            way[first], way[second] = way[first] + sign, way[second] - sign
        ways.append(log_probability(worths, way))
    return float(np.mean(ways))


def test_worths_are_those_of_the_greatest_posterior() -> None:
    """Of one prompt with four answers and three precisions, of which one is negative; two answers are tied."""
    names, precisions = ["ann", "ben", "zed"], np.array([2.0, 0.7, -1.2])
    ranks = [[1, 2, 2, 4], [2, 1, 3, 4], [4, 2, 1, 3]]
    given_ranks = [Ranked(0, name, name, range(4), own) for name, own in zip(names, ranks, strict=True)]
    (orders,) = strict_orders(given_ranks, names)
    worths = prior_worths(1, 4)
    for _ in range(50):
        worths = with_worths(orders, worths, precisions)

    def loss(values: np.ndarray) -> float:
        told = sum(mean_log_probability(p * values, own) for p, own in zip(precisions, ranks, strict=True))
        return values @ values / 2 - told

    found = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    assert worths.means[0] == pytest.approx(found.x, abs=1e-5)
    assert worths.covariances[0] == pytest.approx(np.linalg.inv(second_derivatives(loss, found.x)), abs=1e-5)


def second_derivatives(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Return the Hessian by central differences. Shape: [values, values]."""
    along = step * np.eye(len(at))
    sums = [[sum(a * b * function(at + a * one + b * two) for a, b in SIGNS) for two in along] for one in along]
    return np.array(sums) / (4 * step**2)


def marginal(given_rankings: list[Ranked], nodes: int = 11) -> tuple[dict[str, float], np.ndarray]:
    """(the precisions that make the rankings most probable with their prior, P(first better) of all pairs).

    The worths of a prompt are summed over a grid of all their values.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array([*product(points, repeat=SIZE)])
    mass = np.prod([*product(weights / weights.sum(), repeat=SIZE)], axis=1)
    names = sorted({one.annotator for one in given_rankings})
    prompts = sorted({one.prompt for one in given_rankings})

    def of_prompts(precisions: np.ndarray) -> np.ndarray:
        logs = np.tile(np.log(mass), (len(prompts), 1))
        for one in given_rankings:
            values = precisions[names.index(one.annotator)] * grid
            for sign, order in ((1, np.argsort(one.ranks)), (-1, np.argsort(one.ranks)[::-1])):
                left = np.exp(sign * values[:, order])
                logs[one.prompt] += np.log(left / np.cumsum(left[:, ::-1], 1)[:, ::-1]).sum(1) / 2
        return logs

    def loss(precisions: np.ndarray) -> float:
        prior = np.sum((precisions - FIRST_PRECISION) ** 2) / DEVIATION**2 / 2
        return prior - float(np.logaddexp.reduce(of_prompts(precisions), axis=1).sum())

    best = minimize(loss, np.full(len(names), FIRST_PRECISION), method="L-BFGS-B").x
    posterior = np.exp(of_prompts(best))
    posterior /= posterior.sum(1, keepdims=True)
    above = [(grid[:, i] > grid[:, j]) + (grid[:, i] == grid[:, j]) / 2 for i, j in combinations(range(SIZE), 2)]
    return dict(zip(names, best.tolist(), strict=True)), posterior @ np.array(above).T


def test_precisions_and_probabilities_are_near_those_of_sums_over_all_worths() -> None:
    people = team(2, inverse=1, noise=0.7)
    given_rankings = [
        one._replace(ranks=[rank + 0.01 * slot for slot, rank in enumerate(one.ranks)])  # no ties
        for one in opinions(ranked(people, 40, SIZE, 3))
    ]
    precisions, shares = marginal(given_rankings)
    found = crowd_plackett_luce(given_rankings)
    assert found.precisions == pytest.approx(precisions, abs=0.35)
    first, second = (
        np.array([SIZE * n + pair[side] for n in range(40) for pair in combinations(range(SIZE), 2)]) for side in (0, 1)
    )
    assert found.probabilities(first, second) == pytest.approx(shares.ravel(), abs=0.08)
    assert np.abs(found.probabilities(first, second) - shares.ravel()).mean() < 0.02


def test_precisions_of_a_simulated_team_are_those_of_its_noise() -> None:
    """In the model the noise is Gumbel's, of deviation pi / sqrt(6) / precision; in the team it is normal."""
    people = team(3, random=1, inverse=1, noise=0.6)
    of_seeds = [crowd_plackett_luce(opinions(ranked(people, 200, 4, seed))).precisions for seed in range(2)]
    found = {name: np.mean([precisions[name] for precisions in of_seeds]) for name in of_seeds[0]}
    expected = np.pi / np.sqrt(6) / 0.6
    assert [found[f"honest{number}"] for number in range(3)] == pytest.approx([expected] * 3, rel=0.25)
    assert found["random0"] == pytest.approx(0, abs=0.2)
    assert found["inverse0"] == pytest.approx(-expected, rel=0.25)


def test_two_opinions_on_each_prompt_tell_a_random_annotator() -> None:
    """Orders at random never contradict themselves, which must not look like knowledge."""
    found = crowd_plackett_luce(opinions(ranked(team(3, random=2), 300, 4, 0, overlap=2))).precisions
    assert [found["random0"], found["random1"]] == pytest.approx([0, 0], abs=0.35)
    assert min(found[f"honest{number}"] for number in range(3)) > 1


def test_a_prompt_that_one_annotator_ranked_tells_nothing_about_the_annotator() -> None:
    found = crowd_plackett_luce([Ranked(n, "ann", "ann", [2 * n, 2 * n + 1], [1, 2]) for n in range(9)])
    assert found.precisions == {"ann": FIRST_PRECISION}
    assert found.probabilities(np.array([0]), np.array([1]))[0] == pytest.approx(0.73, abs=0.02)


@given(st.lists(st.lists(st.integers(1, 3), min_size=4, max_size=4), min_size=1, max_size=4), st.permutations(range(4)))
@example([[2, 2, 1, 1], [2, 2, 3, 3], [2, 1, 3, 3], [3, 2, 1, 1]], [0, 2, 1, 3])  # two people against two
def test_tied_answers_are_equal_whatever_their_numbers(tables: list[list[int]], turned: list[int]) -> None:
    """Two answers that all annotators tie are as good as each other; numbers of answers tell nothing."""
    tables = [[*ranks[:3], ranks[2]] for ranks in tables]
    names = [f"{number}" for number in range(len(tables))]
    one = crowd_plackett_luce([Ranked(0, n, n, range(4), own) for n, own in zip(names, tables, strict=True)])
    other = crowd_plackett_luce([Ranked(0, n, n, turned, own) for n, own in zip(names, tables, strict=True)])
    first, second = np.array([*combinations(range(4), 2)]).T
    assert one.probabilities(first, second)[-1] == pytest.approx(0.5, abs=1e-9)
    places = np.array(turned)
    assert other.probabilities(places[first], places[second]) == pytest.approx(
        one.probabilities(first, second), abs=1e-9
    )


def test_the_probabilities_of_pairs_come_true() -> None:
    """Of pairs with a probability of about p, about the share p is in the right order."""
    rankings = [one for seed in range(3) for one in ranked(team(3, random=2, noise=0.7), 150, 4, seed)]
    found = crowd_plackett_luce(opinions(rankings))
    places = [(4 * n + i, 4 * n + j) for n in range(len(rankings)) for i, j in combinations(range(4), 2)]
    first, second = np.array(places).T
    truth = np.array([quality(one["prompt"], text) for one in rankings for text in one["responses"]])  # type: ignore[arg-type]
    sure = found.probabilities(first, second)
    right = (sure > 0.5) == (truth[first] > truth[second])
    sure = np.maximum(sure, 1 - sure)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        some = (sure >= low) & (sure < high)
        assert right[some].mean() == pytest.approx(sure[some].mean(), abs=0.06)


def test_answers_far_apart_leave_all_sums_finite() -> None:
    given_rankings = [Ranked(n, name, name, range(9 * n, 9 * n + 9), range(9)) for n in range(40) for name in "ab"]
    found = crowd_plackett_luce(given_rankings)
    assert found.probabilities(np.array([0]), np.array([8]))[0] == pytest.approx(1, abs=1e-3)
    assert 3 < found.precisions["a"] < 30
