"""What language models say about the policies, in words, always beside how far people agree with them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from labeling.sequential import rate_text
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.winrates import Estimate
from pipeline.report.bars import Bar, intervals


class LlmJudge(NamedTuple):
    """A language model that judged the policies."""

    name: str
    text: str
    chart: Markup


def llm_judges(seen: Comparison) -> list[LlmJudge]:
    """Return what each language model says, with the win rate that it sees where there is no difference."""
    return [_llm_judge(seen, figures) for figures in seen.judges]


def _llm_judge(seen: Comparison, figures: Mapping[str, Any]) -> LlmJudge:
    baseline = seen.baseline.label if seen.baseline else "the baseline"
    rates = [(policy, figures["win_rates"].get(policy.name)) for policy in seen.challengers]
    bars = [Bar(policy.label, policy.colour, *found) for policy, found in rates if found]
    bars.append(Bar(f"{baseline} against itself", 0, *figures["same"]))
    chart = intervals(bars, f"win rate against {baseline} by {figures['name']}, with 95% interval")
    return LlmJudge(figures["name"], judge_text(figures), chart)


def judge_text(figures: Mapping[str, Any]) -> str:
    """Return the sentences about one judge, from its figures in `judges.json`."""
    agreement, same = Estimate(*figures["agreement"]), Estimate(*figures["same"])
    people = f"; people agree with each other {figures['people']:.2f}" if figures["people"] is not None else ""
    believed = "" if agreement.low > 0.5 else ", which is no better than chance: do not believe its win rates"
    rates = [f"{name} {rate_text(Estimate(*rate))}" for name, rate in figures["win_rates"].items()]
    return (
        f"{figures['name']} agrees with people {rate_text(agreement)}{people}{believed}. "
        f"Win rates by it: {', '.join(rates)}; the baseline against itself {rate_text(same)}. "
        f"It gives the same verdict in both orders in {figures['same_in_both_orders']:.0%}, prefers the answer shown "
        f"first in {figures['first_shown']:.0%} and the longer one in {figures['longer']:.0%} (people: "
        f"{figures['longer_by_people']:.0%}); "
        f"{figures['readable']:.0%} of {figures['questions']:,} verdicts can be read ({figures['tokens']:,} tokens)."
    )
