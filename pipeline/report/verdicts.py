"""Sentences for the results of a comparison, and for the caveats that limit them."""

from collections.abc import Iterator
from typing import NamedTuple

from labeling.suspects import exclusion, sentence
from pipeline.evaluation.comparison import Comparison, Policy
from pipeline.evaluation.winrates import difference, outcomes, win_rate
from pipeline.gates.rules import judge_verdict, read_gates, remark_on_judge
from pipeline.people.trust import read_suspects
from pipeline.report.abtest import blind_tests
from pipeline.store.lineage import drawing_of, of_stage

FEW_PROMPTS = 100  # with fewer prompts, an interval can be about 20 points wide or wider
STOPPED = 0.95  # a smaller share of complete answers leads to a caveat
LONGER = 1.5  # a larger ratio of lengths alone may explain a win


class Finding(NamedTuple):
    """One sentence about one policy."""

    text: str
    colour: int
    shown: bool = False  # whether it shows a difference
    minor: bool = False  # about an ancestor of the baseline: less important than the arms


def verdicts(seen: Comparison) -> list[Finding]:
    """Return one sentence per policy against the baseline, and one for each two arms; minor ones last."""
    baseline = seen.baseline
    if baseline is None or not seen.challengers:
        only = seen.policies[0]
        return [Finding(f"Only {only.label} was evaluated: there is nothing to compare it with.", only.colour)]
    judged = [policy for policy in seen.challengers if "win_rate" in policy.metrics]
    by_people = [Finding(test.text, test.colour, test.shown) for test in blind_tests(seen)]
    if not judged and by_people:
        return by_people
    if not judged:
        text = (
            f"No result: no person has judged these {seen.prompts:,} answers per policy, "
            "and no scorer can judge them. The answers are below, to be read."
        )
        return [Finding(text, baseline.colour)]
    findings = [_against(policy, baseline, seen) for policy in judged] + list(_between_arms(seen, baseline))
    return sorted([*by_people, *findings], key=lambda verdict: verdict.minor)


def _against(policy: Policy, baseline: Policy, seen: Comparison) -> Finding:
    rate, low, high = (policy.metrics[key] for key in ("win_rate", "win_rate_low", "win_rate_high"))
    share = f"{rate:.2f} [{low:.2f}, {high:.2f}] of {seen.prompts:,} held-out prompts"
    by = f"by {judge(seen)}"
    if low <= 0.5 <= high:
        text = f"No difference shown between {policy.label} and {baseline.label}: {policy.label} wins {share}, {by}."
    elif rate > 0.5:
        text = f"{policy.label} wins {share} against {baseline.label}, {by}."
    else:
        text = f"{policy.label} is worse than {baseline.label}: it wins only {share}, {by}."
    return Finding(text, policy.colour, not low <= 0.5 <= high and _decides_well(seen), policy.is_ancestor)


def _between_arms(seen: Comparison, baseline: Policy) -> Iterator[Finding]:
    """Yield a sentence for each two rivals: the difference of their win rates against the baseline, and head to head.

    The difference is paired by prompt.
    """
    reference = seen.values(baseline, seen.decides)
    scores = {arm.name: seen.values(arm, seen.decides) for arm in seen.arms}
    won = {name: outcomes(own, reference) for name, own in scores.items() if own and reference}
    for first, second in ((a, b) for a, b in seen.rivals if a.name in won and b.name in won):
        gap = difference(won[first.name], won[second.name])
        ahead, behind = (first, second) if gap.value >= 0 else (second, first)
        value, low, high = gap if gap.value >= 0 else (-gap.value, -gap.high, -gap.low)
        rate = win_rate(scores[ahead.name], scores[behind.name])
        points = (
            f"{_points(value)} points of win rate against {baseline.label} [{_points(low)}, {_points(high)}]; "
            f"head to head {ahead.label} wins {rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        )
        if low <= 0 <= high or rate.low <= 0.5:
            text = f"No difference shown between {ahead.label} and {behind.label}: {points}."
            yield Finding(text, ahead.colour)
        else:
            text = f"{ahead.label} is better than {behind.label}: {points}."
            yield Finding(text, ahead.colour, _decides_well(seen))


def _points(share: float) -> str:
    return f"{100 * share:+.0f}".replace("-", "−") if round(100 * share) else "0"


def judge(seen: Comparison) -> str:
    """Return the name of the scorer that decides which answer is better."""
    if seen.knows("true_score"):
        return "the playground's true scorer"
    if not seen.knows("judge_reward"):
        return "the evaluation's judge"
    remark = remark_on_judge(seen.metrics)
    return f"the independent judge ({remark})" if remark else "the independent judge"


def caveats(seen: Comparison) -> list[str]:
    """Return the caveats of the comparison, the most serious first. (`protocol` reports unequal terms.)"""
    return [
        *_simulated(seen),
        *_made_wrong(seen),
        *_suspects(seen),
        *_judge(seen),
        *_gates(seen),
        *_not_held_out(seen),
        *_unknown(seen),
        *_uncertain(seen),
    ]


def _simulated(seen: Comparison) -> Iterator[str]:
    if any(made.metrics.get("simulated") for made in seen.made):
        yield (
            "Annotators are SIMULATED: a program with some noise ranked the answers, no person did. "
            "This shows that the software works, not which answers people prefer."
        )
    if seen.knows("true_score"):
        yield "The true scorer is a program that knows the playground's right answers. Real data has no such scorer."


def _made_wrong(seen: Comparison) -> Iterator[str]:
    for preferences in of_stage(seen.made, "preferences"):
        if swapped := preferences.metrics.get("swapped"):
            share = swapped / preferences.metrics["train"]
            yield f"Of the training pairs, {share:.0%} were made wrong on purpose (preferences.noise)."


def _suspects(seen: Comparison) -> Iterator[str]:
    for preferences in of_stage(seen.made, "preferences"):
        if suspects := read_suspects(preferences):
            yield f"{sentence(suspects)} Leave them out with {exclusion(suspects)}"


def _judge(seen: Comparison) -> Iterator[str]:
    verdict = judge_verdict(seen.metrics)
    if seen.knows("win_rate") and not _decides_well(seen):
        yield f"{verdict.says} {verdict.advice}"
    elif seen.knows("win_rate") and not seen.knows("true_score") and not verdict.figures:
        yield verdict.says


def _decides_well(seen: Comparison) -> bool:
    """Whether the scorer that decides wins has no known fault."""
    return seen.knows("true_score") or judge_verdict(seen.metrics).passed


def _gates(seen: Comparison) -> Iterator[str]:
    for arm in seen.arms:
        warned = [verdict for verdict in read_gates(arm.artifact) if not verdict.passed] if arm.artifact else []
        if warned:
            names = ", ".join(f"{verdict.name} (at fault: {verdict.stage})" for verdict in warned)
            yield f"Before {arm.label} was trained, {'a gate' if len(warned) == 1 else 'gates'} warned: {names}."


def _not_held_out(seen: Comparison) -> Iterator[str]:
    test = seen.evaluation.inputs.get("data")
    for policy in seen.policies:
        trained = of_stage(policy.made, "data")
        if test and trained and test.reference not in {data.reference for data in trained}:
            yield (
                f"{policy.label} was trained on {trained[0].reference}, but the prompts come from {test.reference}: "
                "they may not be held out for it."
            )


def _unknown(seen: Comparison) -> Iterator[str]:
    for policy in seen.policies:
        if policy.artifact is None:
            yield f"{policy.label}: its artifact has been removed, so its origin is unknown."
        elif policy.artifact.is_external and not policy.is_ancestor:
            yield f"{policy.label} is a model of your own: its training data is unknown."


def _uncertain(seen: Comparison) -> Iterator[str]:
    if seen.prompts < FEW_PROMPTS:
        yield f"Few prompts: {seen.prompts} cannot show a small difference."
    cut = {p.label: 1 - p.metrics["stopped"] for p in seen.policies if p.metrics.get("stopped", 1) < STOPPED}
    if cut:
        limit = drawing_of(seen.evaluation).get("max_new_tokens")
        shares = ", ".join(f"{label} {share:.0%}" for label, share in cut.items())
        where = f"the limit of {limit} tokens" if limit else "the limit"
        scored = " They score 0." if seen.knows("true_score") else ""
        yield f"Answers that ran into {where} before they ended: {shares}.{scored}"
    yield from _lengths(seen)


def _lengths(seen: Comparison) -> Iterator[str]:
    usual = seen.baseline.metrics.get("length") if seen.baseline else None
    for arm in seen.arms:
        ratio = arm.metrics["length"] / usual if usual and "length" in arm.metrics else 1.0
        if seen.baseline and not 1 / LONGER < ratio < LONGER:
            yield (
                f"{arm.label}'s answers are {ratio:.1f} times as long as {seen.baseline.label}'s: that may "
                "influence the judge."
            )
