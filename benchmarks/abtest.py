"""How often the interval of a blind A/B test covers a known preference, and how soon tests stop.

    python benchmarks/abtest.py --runs 1000

Simulated annotators judge pairs whose qualities differ by a fixed gap, so the true win rate follows from their noise
and their ties (`labeling/simulated.py`). Sides are shuffled and verdicts are read as in the stage. Each test is looked
at after every twenty verdicts and stops once a difference is shown, or at its planned end.
"""

import argparse
import math
from collections.abc import Iterator
from statistics import NormalDist, mean, median

from labeling.records import Sample, SampledAnswer, make_tasks
from labeling.sequential import Tally, always_valid, shows_difference
from labeling.simulated import SimulatedAnnotator, annotate
from labeling.verdicts import Pair, tally_of, verdicts
from pipeline.evaluation.abtest import interval
from pipeline.evaluation.power import judgements_needed

NOISE = 1.0
LOOK = 20  # verdicts between two looks
ANNOTATORS = [SimulatedAnnotator(name, NOISE) for name in ("ann", "bob", "cyd")]


def tests(rate: float, ties: float, planned: int, runs: int) -> Iterator[tuple[bool, bool, int]]:
    """Yield (whether the interval covers the true rate, whether a difference is shown, verdicts used)."""
    gap, width = world(rate, ties)
    annotators = [SimulatedAnnotator(one.name, NOISE, width) for one in ANNOTATORS]
    for run in range(runs):
        pairs = [Pair(f"{run}-{i}", f"{i}", "a", "b") for i in range(planned)]
        answers = [SampledAnswer(text="better", policy="a"), SampledAnswer(text="other", policy="b")]
        tasks, slots = make_tasks((Sample(id=pair.task, prompt=[], answers=answers) for pair in pairs), run)
        ranked = annotate(tasks, annotators, 1, run, lambda prompt, text: gap if text == "better" else 0.0)
        given = verdicts(ranked, pairs, slots)
        for judged in [*range(LOOK, planned, LOOK), planned]:
            seen: Tally = tally_of(given[:judged])
            if judged == planned or shows_difference(always_valid(seen)):
                shown = interval(seen, ended=judged == planned)
                yield shown.low <= rate <= shown.high, shows_difference(shown), judged
                break


def world(rate: float, ties: float) -> tuple[float, float]:
    """Return (the gap in quality, the width of ties) with this win rate and this share of ties.

    By `labeling.simulated`, better = F((gap - w) / s) and worse = F((-gap - w) / s), where s = noise sqrt 2.
    """
    normal, scale = NormalDist(), NOISE * math.sqrt(2)
    better, worse = rate - ties / 2, 1 - rate - ties / 2
    one, other = normal.inv_cdf(better) * scale, normal.inv_cdf(worse) * scale
    return (one - other) / 2, max(0.0, -(one + other) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--planned", type=int, default=judgements_needed())
    options = parser.parse_args()
    print(f"{options.runs} tests for each row, {options.planned} prompts planned, a look after every {LOOK}")
    print("rate  ties  covered  shown  stopped early  verdicts (median, mean)")
    for rate, ties in ((0.5, 0.0), (0.5, 0.3), (0.55, 0.0), (0.55, 0.3), (0.6, 0.0), (0.7, 0.2), (0.85, 0.0)):
        found = list(tests(rate, ties, options.planned, options.runs))
        covered, shown, used = zip(*found, strict=True)
        early = mean(judged < options.planned for judged in used)
        print(
            f"{rate:.2f}  {ties:.1f}   {mean(covered):.3f}    {mean(shown):.3f}  {early:.3f}          "
            f"{median(used):.0f}, {mean(used):.0f}"
        )


if __name__ == "__main__":
    main()
