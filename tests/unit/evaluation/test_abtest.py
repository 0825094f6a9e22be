"""The statistics of a blind A/B test, by exact sums over all outcomes wherever that is possible."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, multinomial, norm
from sklearn.linear_model import LogisticRegression

from labeling.sequential import EARLY, Tally, always_valid, log_capital, shows_difference, tally
from pipeline.evaluation.abtest import ERROR, FINAL, at_the_end, interval, sign_test
from pipeline.evaluation.length_control import PRIOR, length_controlled
from pipeline.evaluation.power import detectable_rate, judgements_needed, more_needed, rounded
from pipeline.evaluation.winrates import wilson
from pipeline.report.abtest import preference_text

Z = norm.isf(ERROR / 2)
SHARES = [(0.5, 0.0), (0.5, 0.4), (0.55, 0.0), (0.6, 0.2), (0.75, 0.0), (0.9, 0.1)]  # win rate, share of ties


def chances(rate: float, ties: float) -> tuple[float, float, float]:
    return rate - ties / 2, ties, 1 - rate - ties / 2


def tallies(judged: int) -> Iterator[Tally]:
    return (Tally(w, t, judged - w - t) for w in range(judged + 1) for t in range(judged - w + 1))


def test_a_tie_counts_half() -> None:
    assert tally([1, 0.5, 0, 1]) == (2, 1, 1)
    assert Tally(2, 1, 1).win_rate == 0.625
    assert Tally(0, 0, 0).win_rate == 0.5


def test_without_ties_the_interval_at_the_end_is_wilsons() -> None:
    for wins in range(41):
        assert at_the_end(Tally(wins, 0, 40 - wins), ERROR) == pytest.approx(wilson(wins / 40, 40), abs=1e-6)


def test_with_ties_it_is_the_score_interval_and_narrower() -> None:
    """The ends, by a numerical search for the likeliest shares under each difference."""
    for seen in (Tally(12, 36, 2), Tally(30, 40, 30), Tally(3, 5, 2), Tally(50, 20, 30)):
        rate = at_the_end(seen, ERROR)
        for end in (rate.low, rate.high):
            assert abs(score(seen, 2 * end - 1)) == pytest.approx(Z, abs=1e-3)
        plain = wilson(seen.win_rate, seen.judged)
        assert plain.low < rate.low < seen.win_rate < rate.high < plain.high


def score(seen: Tally, difference: float) -> float:
    """The score statistic of a difference between wins and losses."""

    def unlikely(losses: float) -> float:
        shares = np.array([losses + difference, 1 - 2 * losses - difference, losses])
        return -float(np.array(seen) @ np.log(np.maximum(shares, 1e-300)))

    least, most = max(0.0, -difference), (1 - difference) / 2
    losses = minimize_scalar(unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
    variance = seen.judged * (2 * losses + difference - difference**2)
    return (seen.wins - seen.losses - seen.judged * difference) / math.sqrt(variance)


def test_it_excludes_an_even_rate_exactly_when_mcnemars_test_does() -> None:
    for seen in tallies(24):
        decided = seen.wins + seen.losses
        significant = decided > 0 and abs(seen.wins - seen.losses) / math.sqrt(decided) > Z
        assert shows_difference(at_the_end(seen, ERROR)) == significant


def test_intervals_contain_the_rate_and_swap_with_the_sides() -> None:
    for make in (at_the_end, always_valid):
        assert make(Tally(0, 0, 0)) == (0.5, 0, 1)
        for seen in tallies(7):
            rate, turned = make(seen), make(Tally(seen.losses, seen.ties, seen.wins))
            assert 0 <= rate.low <= rate.value <= rate.high <= 1
            assert (turned.low, turned.high) == pytest.approx((1 - rate.high, 1 - rate.low), abs=1e-7)


@pytest.mark.parametrize(("rate", "ties"), SHARES)
def test_the_capital_is_expected_not_to_grow_at_the_true_rate(rate: float, ties: float) -> None:
    """The whole guarantee of the interval that holds at every look: 1 by a sum over all outcomes."""
    shares = multinomial(25, chances(rate, ties))
    expected = sum(shares.pmf(seen) * math.exp(log_capital(seen, rate)) for seen in tallies(25))
    assert expected == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rate", [0.5, 0.55, 0.65, 0.8, 0.95])
def test_the_interval_that_is_shown_covers_the_true_rate_also_if_it_stopped_early(rate: float) -> None:
    """The exact chance, over all courses of a test of 90 prompts that is looked at after every one."""
    planned = 90
    alive, covered, early = np.array([1.0]), 0.0, 0.0  # the chance of each number of wins, if not stopped
    for judged in range(1, planned + 1):
        alive = rate * np.append(0, alive) + (1 - rate) * np.append(alive, 0)
        for wins in range(judged + 1):
            seen = Tally(wins, 0, judged - wins)
            if judged == planned:
                shown = interval(seen, ended=True)
                covered += alive[wins] * (shown.low <= rate <= shown.high)
            elif log_capital(seen, 0.5) >= -math.log(EARLY):
                covered += alive[wins] * (log_capital(seen, rate) < -math.log(EARLY))
                early += alive[wins]
                alive[wins] = 0
    assert covered >= 0.94  # 0.95 but for the steps of whole numbers
    assert early < EARLY if rate == 0.5 else early > 0.8 if rate >= 0.8 else 0 < early < 0.5


def test_what_stops_a_test_is_what_its_interval_shows() -> None:
    for seen in (*tallies(12), Tally(60, 5, 20), Tally(90, 0, 40), Tally(20, 0, 60)):
        assert shows_difference(always_valid(seen)) == (log_capital(seen, 0.5) > -math.log(EARLY))


def test_the_sign_test_is_the_binomial_one_without_ties() -> None:
    assert sign_test(Tally(9, 30, 1)) == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert sign_test(Tally(0, 8, 0)) == 1


def test_about_780_judgements_tell_55_percent_from_50() -> None:
    assert judgements_needed(error=ERROR) == 783
    needed = judgements_needed()
    assert 783 <= needed <= 790  # the looks before the end cost a few
    wins = np.arange(needed + 1)
    told = [shows_difference(at_the_end(Tally(int(w), 0, needed - int(w)))) for w in wins]
    assert binom.pmf(wins, needed, 0.55)[told].sum() == pytest.approx(0.8, abs=0.02)
    assert binom.pmf(wins, needed, 0.5)[told].sum() <= FINAL + 0.005


def test_ties_and_larger_differences_need_fewer_judgements() -> None:
    assert judgements_needed(0.55, ties=0.4) < 0.62 * judgements_needed(0.55)
    assert judgements_needed(0.7) < 50 < judgements_needed(0.65) < judgements_needed(0.6)
    with pytest.raises(ValueError, match=r"0\.5"):
        judgements_needed(0.5)


@pytest.mark.parametrize("judged", [12, 100, 512, 5000])
def test_the_rate_that_prompts_tell_needs_that_many(judged: int) -> None:
    assert judgements_needed(detectable_rate(judged)) == pytest.approx(judged, rel=0.01, abs=1)


def test_a_handful_of_prompts_tells_nothing() -> None:
    assert detectable_rate(3) == 1


def test_how_many_more_are_needed_depends_on_the_rate_and_the_ties_seen() -> None:
    assert more_needed(Tally(270, 0, 242)) == judgements_needed(270 / 512) - 512
    assert more_needed(Tally(135, 256, 121)) > 0
    assert more_needed(Tally(100, 3, 100)) is None


def test_estimates_are_shown_with_two_digits() -> None:
    assert [rounded(count) for count in (0, 7, 83, 783, 29_123)] == ["0", "7", "83", "780", "29,000"]


# -- length


def test_equal_lengths_change_nothing() -> None:
    outcomes = [1.0] * 300 + [0.5] * 100 + [0.0] * 200
    assert length_controlled(outcomes, [4] * 600).value == pytest.approx(350 / 600, abs=2e-3)


def test_it_is_logistic_regression() -> None:
    """Against scikit-learn, where a tie is half a win and half a loss."""
    draw = np.random.default_rng(0)
    longer, outcomes = draw.normal(20, 50, 400), draw.choice([0, 0.5, 1], 400)
    outcomes[longer > 40] = 1
    x = np.tanh(longer / longer.std())[:, None]
    twice = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
        np.vstack([x, x]), np.repeat([1, 0], 400), np.concatenate([outcomes, 1 - outcomes])
    )
    found = length_controlled(outcomes.tolist(), longer)
    assert math.log(found.value / (1 - found.value)) == pytest.approx(float(twice.intercept_[0]), abs=0.02)


def test_a_policy_that_wins_by_length_alone_is_even_at_equal_lengths() -> None:
    outcomes, longer = [1.0] * 80 + [0.0] * 20 + [1.0, 0.0] * 20, [90] * 80 + [-90] * 20 + [0, 0] * 20
    rate = length_controlled(outcomes, longer)
    assert tally(outcomes).win_rate > 0.7
    assert rate.low < 0.5 < rate.high
    assert rate.value == pytest.approx(0.5, abs=0.02)


def test_it_is_finite_where_length_separates_wins_from_losses_and_wide_where_all_is_won() -> None:
    assert length_controlled([1.0, 0.0] * 20, [3.0, -3.0] * 20).value == pytest.approx(0.5)
    rate = length_controlled([1.0] * 20, [3.0] * 20)
    assert 0.5 < rate.low < 0.9 < rate.value < rate.high < 1
    assert PRIOR == 2.5


# -- words


def test_what_is_said_depends_on_what_is_shown() -> None:
    assert preference_text("PPO", "DPO", Tally(460, 20, 320), ended=True).startswith(
        "People prefer PPO to DPO: PPO wins 0.59 ["
    )
    assert preference_text("PPO", "DPO", Tally(320, 20, 460), ended=True).startswith(
        "People prefer DPO to PPO: PPO wins 0.41 ["
    )
    told = preference_text("PPO", "DPO", Tally(270, 0, 242), ended=True)
    assert told.startswith(
        "PPO and DPO cannot be told apart: PPO wins 0.53 [0.48, 0.57] of 512 judged prompts against DPO."
    )
    assert told.endswith("About 2,100 more would be needed to tell this rate from 0.5.")
    assert preference_text("PPO", "DPO", Tally(500, 0, 500), ended=True).endswith("The rate is even.")
    few = preference_text("PPO", "DPO", Tally(5, 0, 5), ended=True)
    assert few.endswith("The rate is even: about 780 more would tell 55% from 50%.")
    assert "no preference so far" in preference_text("PPO", "DPO", Tally(30, 0, 20), ended=False)
    assert "holds at every look" in preference_text("PPO", "DPO", Tally(90, 0, 10), ended=False)
    assert preference_text("PPO", "DPO", Tally(90, 0, 10), ended=True, simulated=True).startswith(
        "Simulated annotators"
    )
