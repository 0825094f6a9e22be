"""What people prefer, in words: the sentences about a blind A/B test, in the terminal and in the report."""

from pipeline.evaluation.abtest import Tally, interval, shows_difference
from pipeline.evaluation.power import more_needed, rounded
from pipeline.evaluation.winrates import Estimate


def rate_text(rate: Estimate) -> str:
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def preference_text(first: str, second: str, seen: Tally, *, ended: bool, simulated: bool = False) -> str:
    """Return one sentence about two policies; `ended` says that all planned prompts are judged."""
    rate = interval(seen, ended=ended)
    people = "Simulated annotators" if simulated else "People"
    share = f"{first} wins {rate_text(rate)} of {seen.judged:,} judged prompts against {second}"
    if shows_difference(rate):
        ahead, behind = (first, second) if rate.value > 0.5 else (second, first)
        early = "" if ended else ", by an interval that holds at every look"
        return f"{people} prefer {ahead} to {behind}: {share}{early}."
    if not ended:
        return f"{people} show no preference so far: {share}, by an interval that holds at every look."
    more = more_needed(seen)
    rest = f"About {rounded(more)} more would be needed to tell this rate from 0.5" if more else "The rate is even"
    return f"{first} and {second} cannot be told apart: {share}. {rest}."
