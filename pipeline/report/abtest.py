"""What people prefer: the sentences about a blind A/B test, and its figures beside those of the scorers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from labeling.sequential import Tally, rate_text, running_text, share_text, shows_difference
from pipeline.evaluation.abtest import at_the_end, interval
from pipeline.evaluation.comparison import Comparison, Row
from pipeline.evaluation.power import RATE, judgements_needed, more_needed, rounded
from pipeline.evaluation.winrates import Estimate, outcomes, win_rate
from pipeline.report.bars import Bar, intervals

SCORERS = {"score": "the true scorer", "judge_reward": "the independent judge"}


class BlindTest(NamedTuple):
    """The blind A/B test of two policies."""

    title: str
    text: str
    shown: bool  # whether it shows a difference
    colour: int
    chart: Markup
    facts: Sequence[tuple[str, str, str]]  # (name, value, meaning)


def preference_text(first: str, second: str, seen: Tally, *, ended: bool, simulated: bool = False) -> str:
    """Return one sentence about two policies; `ended` says that all planned prompts are judged."""
    people = "Simulated annotators" if simulated else "People"
    if not ended:
        return running_text(first, second, seen, people)
    rate = at_the_end(seen)
    share = share_text(first, second, seen, rate)
    if shows_difference(rate):
        ahead, behind = (first, second) if rate.value > 0.5 else (second, first)
        return f"{people} prefer {ahead} to {behind}: {share}."
    return f"{first} and {second} cannot be told apart: {share}. {_more_text(seen)}"


def _more_text(seen: Tally) -> str:
    """Return how many more judgements would show the difference seen, or if there is none, the planned one."""
    more = more_needed(seen)
    if more:
        return f"About {rounded(more)} more would be needed to tell this rate from 0.5."
    least = judgements_needed(ties=seen.ties / seen.judged) - seen.judged
    return f"The rate is even{f': about {rounded(least)} more would tell {RATE:.0%} from 50%' if least > 0 else ''}."


def blind_tests(seen: Comparison) -> list[BlindTest]:
    """Return the tests of this comparison, one for each two policies."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in seen.judged:
        rows.setdefault((row["first"], row["second"]), []).append(row)
    return [_blind_test(seen, *policies, own) for policies, own in rows.items()]


def _blind_test(seen: Comparison, first: str, second: str, judged: Sequence[Row]) -> BlindTest:
    assert seen.abtest is not None
    of_all, prefix = seen.abtest.metrics, f"{first}/against/{second}/"
    own = {key.removeprefix(prefix): value for key, value in of_all.items() if key.startswith(prefix)}
    policies = {policy.name: policy for policy in seen.policies}
    labels = policies[first].label, policies[second].label
    counted = Tally(*(int(own[name]) for name in Tally._fields))
    simulated, ended = bool(of_all.get("simulated")), bool(of_all["ended"])
    scored = dict(_scored(seen, first, second, judged))
    colour, people = policies[first].colour, "simulated annotators" if simulated else "people"
    bars = [Bar(people, colour, own["win_rate"], own["win_rate_low"], own["win_rate_high"])]
    bars += [Bar(name, colour, *win_rate(*scores)) for name, scores in scored.items()]
    title = f"{labels[0]} against {labels[1]}"
    return BlindTest(
        title=title,
        text=preference_text(*labels, counted, ended=ended, simulated=simulated),
        shown=shows_difference(interval(counted, ended=ended)),
        colour=colour,
        chart=intervals(bars, f"win rate of {title}, with 95% interval"),
        facts=[*_facts(own, of_all), *_agreements(judged, scored)],
    )


def _scored(
    seen: Comparison, first: str, second: str, judged: Sequence[Row]
) -> Iterator[tuple[str, tuple[list[float], list[float]]]]:
    """Yield each scorer and its scores of both policies on the judged prompts."""
    answers = {row["id"]: row["answers"] for row in seen.rows}
    for key, name in SCORERS.items():
        given = [(answers[row["prompt"]][first].get(key), answers[row["prompt"]][second].get(key)) for row in judged]
        if all(score is not None for pair in given for score in pair):
            yield name, ([one for one, _ in given], [other for _, other in given])


def _facts(own: Mapping[str, float], of_all: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    yield (
        "Verdicts",
        f"{own['wins']:.0f} : {own['ties']:.0f} : {own['losses']:.0f}",
        f"won, tied and lost; of the ties, both answers are bad in {own['both_bad']:.0f}",
    )
    if "length_controlled_low" in own:
        rate = Estimate(*(own[f"length_controlled{end}"] for end in ("", "_low", "_high")))
        yield "At equal lengths", rate_text(rate), "win rate if both answers were equally long (as AlpacaEval 2)"
    if "sign_test" in own:
        yield "Sign test", f"{own['sign_test']:.2g}", "chance of such a difference or a larger one if wins are even"
    any_look = Estimate(own["win_rate"], own["any_look_low"], own["any_look_high"])
    yield "At any look", rate_text(any_look), "an interval that holds at all looks at once, by which a test stops early"
    yield "Left answer", f"{of_all['left_slot']:.2f}", "its share of the votes for one side; sides are shuffled"


def _agreements(
    judged: Sequence[Row], scored: Mapping[str, tuple[list[float], list[float]]]
) -> Iterator[tuple[str, str, str]]:
    """Yield how often each scorer prefers the answer that people prefer, where neither ties."""
    for name, scores in scored.items():
        both = [(row["outcome"], other) for row, other in zip(judged, outcomes(*scores), strict=True)]
        decided = [one == other for one, other in both if 0.5 not in (one, other)]
        if decided:
            share = f"{sum(decided) / len(decided):.2f}"
            yield f"Agreement with {name}", share, f"share of {len(decided):,} prompts where neither ties"
