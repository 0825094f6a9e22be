"""How often annotators are right, estimated from their votes alone."""

import math
from collections import defaultdict

import numpy as np
import pytest

from benchmarks.annotators import ranked, seconds_of_em, team
from labeling.records import Ranking, Ranks
from labeling.reliability import PRIOR_RIGHT, PRIOR_WRONG, as_votes, log_odds_of, reliabilities, votes_on_pairs

PRIOR = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)


def made_up(able: dict[str, float], pairs: int, seed: int) -> list[tuple[int, str, int]]:
    """Votes of all on each pair; a coin decides which response is better."""
    draw = np.random.default_rng(seed)
    truth = np.where(draw.random(pairs) < 0.5, 1, -1)
    return [
        (pair, name, int(truth[pair]) if draw.random() < right else -int(truth[pair]))
        for pair in range(pairs)
        for name, right in able.items()
    ]


def by_hand(rows: list[tuple[int, str, int]]) -> dict[str, float]:
    """The same EM, vote by vote."""
    right = dict.fromkeys({name for _, name, _ in rows}, PRIOR)
    for _ in range(300):
        odds: dict[int, float] = defaultdict(float)
        for pair, name, vote in rows:
            odds[pair] += vote * math.log(right[name] / (1 - right[name]))
        agreed, given = dict.fromkeys(right, PRIOR_RIGHT), dict.fromkeys(right, PRIOR_RIGHT + PRIOR_WRONG)
        for pair, name, vote in rows:
            if vote:
                agreed[name] += 1 / (1 + math.exp(-vote * odds[pair]))
                given[name] += 1
        right = {name: agreed[name] / given[name] for name in right}
    return right


def test_known_shares_are_found_also_of_who_guesses_and_who_reverses() -> None:
    able = {"ann": 0.9, "ben": 0.8, "cleo": 0.7, "yan": 0.5, "zed": 0.2}
    votes = as_votes(made_up(able, 3000, 0))
    assert dict(zip(votes.names, reliabilities(votes), strict=True)) == pytest.approx(able, abs=0.03)


def test_the_estimate_is_that_of_em_vote_by_vote() -> None:
    rows = made_up({"ann": 0.9, "ben": 0.7, "cleo": 0.6, "zed": 0.4}, 40, 1)
    rows = [(pair, name, 0 if (pair + len(name)) % 5 == 0 else vote) for pair, name, vote in rows]  # some ties
    votes = as_votes(rows)
    expected = by_hand(rows)
    assert dict(zip(votes.names, reliabilities(votes), strict=True)) == pytest.approx(expected, abs=1e-4)


def test_votes_that_no_other_shares_tell_nothing() -> None:
    votes = as_votes([(0, "ann", 1), (1, "ben", -1), (2, "ann", 1), (2, "ben", 0)])
    assert reliabilities(votes).tolist() == [PRIOR, PRIOR]
    assert log_odds_of(votes, reliabilities(votes)) == pytest.approx([math.log(2), -math.log(2), math.log(2)])
    assert reliabilities(as_votes([])).tolist() == []


def test_unnamed_annotators_are_one() -> None:
    assert as_votes([(0, "unnamed 1", 1), (0, "unnamed 2", -1), (0, "ann", 1)]).names == ["ann", "unnamed"]


def test_pairs_of_equal_responses_and_rankings_without_votes_are_left_out() -> None:
    rows = [Ranks(annotator="ann", ranks=[1, 1, 2])]
    given = [
        Ranking(id="none", prompt="?", responses=["a", "b"], rankings=[]),
        Ranking(id="some", prompt="?", responses=["a", "a", "b"], rankings=rows),
    ]
    votes, owners = votes_on_pairs(given)
    assert votes.signs.tolist() == [1, 1]
    assert owners.tolist() == [1, 1]


def test_rankings_of_a_simulated_team_tell_who_is_right() -> None:
    people = team(3, random=1, inverse=1)
    votes, _ = votes_on_pairs(ranked(people, 200, 4, 0))
    found = dict(zip(votes.names, reliabilities(votes), strict=True))
    assert min(found[f"honest{number}"] for number in range(3)) > 0.85
    assert found["random0"] == pytest.approx(0.5, abs=0.08)
    assert found["inverse0"] < 0.15


def test_a_hundred_thousand_votes_take_a_second() -> None:
    assert seconds_of_em() < 1
