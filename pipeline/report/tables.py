"""The report's tables as rows of text: metrics, costs, people, reward models, gates, lineage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from labeling.readings import read_alpha, read_kendall_w, read_pairwise
from pipeline.console import time_text
from pipeline.evaluation.comparison import Comparison, Policy
from pipeline.gates.rules import GateVerdict, read_gates
from pipeline.report.wording import METRICS, Meaning, count, duration, meaning_of
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import flat, lineage, made_from, of_stage, stage_of

NONE = "—"
INTERVALS = ("win_rate_low", "win_rate_high")
MAIN_SETTINGS = ("learning_rate", "epochs", "batch_size", "beta", "peft.method", "seed")  # shown before the others
SETTINGS_SHOWN = 5


class MetricRow(NamedTuple):
    meaning: Meaning
    explained: str
    cells: Sequence[tuple[str, str]]  # per policy: the value, and its interval or ""


def metric_rows(seen: Comparison) -> list[MetricRow]:
    """Return a row for each metric of any policy; those in `METRICS` come first, in that order."""
    present = dict.fromkeys(key for policy in seen.policies for key in policy.metrics if key not in INTERVALS)
    names = [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]
    baseline = seen.baseline.label if seen.baseline else "the baseline"

    def row(name: str) -> MetricRow:
        meaning = meaning_of(name)
        return MetricRow(meaning, meaning.meaning.format(baseline=baseline), [_cell(p, name) for p in seen.policies])

    return [row(name) for name in names]


def _cell(policy: Policy, name: str) -> tuple[str, str]:
    value = policy.metrics.get(name)
    if value is None:
        return ("baseline" if name == "win_rate" and policy.is_baseline else NONE), ""
    low, high = policy.metrics.get(f"{name}_low"), policy.metrics.get(f"{name}_high")
    interval = f"[{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return meaning_of(name).form.format(value), interval


class CostRow(NamedTuple):
    label: str
    cells: Sequence[str]
    kind: str = ""


def cost_rows(seen: Comparison) -> list[CostRow]:
    """Return the time of every stage behind each policy, and other costs. A shared stage counts for each policy."""
    used = {policy.name: {made.reference: made for made in policy.made} for policy in seen.policies}
    stages = [made for made in seen.made if any(made.reference in behind for behind in used.values())]
    timed = [made for made in stages if "seconds" in made.manifest]
    several = {made.stage for made in timed if len(of_stage(timed, made.stage)) > 1}
    rows = [
        CostRow(
            made.reference if made.stage in several else made.stage,
            [duration(made.manifest["seconds"]) if made.reference in behind else NONE for behind in used.values()],
        )
        for made in timed
    ]
    total = [sum(made.manifest.get("seconds", 0) for made in policy.made) for policy in seen.policies]
    rows.append(CostRow("All together", [duration(seconds) if seconds else NONE for seconds in total], "total"))
    return [row for row in [*rows, *_other_costs(seen)] if any(cell != NONE for cell in row.cells)]


def _other_costs(seen: Comparison) -> Iterator[CostRow]:
    """Yield the costs of each arm alone, the number of rankings and pairs, and the number of trained parameters."""
    alone = [_alone(seen, policy) for policy in seen.policies]
    seconds = [sum(made.manifest.get("seconds", 0) for made in own) for own in alone]
    tokens = [sum(made.metrics.get("tokens", 0) for made in own) for own in alone]
    memory = [max((made.metrics.get("peak_memory_mb", 0) for made in own), default=0) for own in alone]
    yield CostRow("Time of this arm alone", [duration(value) if value else NONE for value in seconds])
    yield CostRow("Tokens in this arm's training", [count(value) if value else NONE for value in tokens])
    yield CostRow("Peak memory of this arm", [f"{value / 1024:.2f} GB" if value else NONE for value in memory])
    simulated = any(made.metrics.get("simulated") for made in seen.made)
    yield CostRow("Rankings used (simulated)" if simulated else "Rankings used", [_rankings(p) for p in seen.policies])
    yield CostRow("Pairs trained on", [_own(policy, "pairs") for policy in seen.policies])
    yield CostRow("Trainable parameters", [_own(policy, "trainable", "parameters") for policy in seen.policies])
    yield CostRow("Bits per base weight", [_own(policy, "bits_per_base_weight") for policy in seen.policies])


def _alone(seen: Comparison, policy: Policy) -> list[Artifact]:
    """Return the training stages in the lineage of this policy and of no other: those that only this arm needs."""
    others = {made.reference for other in seen.policies if other is not policy for made in other.made}
    alone = [made for made in policy.made if made.reference not in others and "tokens" in made.metrics]
    return [made for made in alone if stage_of(made) != "judge"]  # a judge watches PPO but does not train it


def _rankings(policy: Policy) -> str:
    given = of_stage(policy.made, "collect") or of_stage(policy.made, "preferences")
    return count(sum(made.metrics.get("rankings", 0) for made in given)) if given else NONE


def _own(policy: Policy, *names: str) -> str:
    """Return the first of these metrics, from the policy or else (PPO's pairs) from its reward model."""
    behind = [*(made for made in policy.made if stage_of(made) == "reward"), *policy.made[-1:]]
    metrics = {name: value for made in behind for name, value in made.metrics.items()}
    return next((count(metrics[name]) for name in names if name in metrics), NONE)


@dataclass(frozen=True)
class People:
    """Figures about one version of the preferences: rows of (name, value, meaning)."""

    reference: str
    simulated: bool
    rows: Sequence[tuple[str, str, str]]


def people(seen: Comparison) -> Iterator[People]:
    for made in of_stage(seen.made, "preferences"):
        collected = of_stage(lineage(made), "collect")
        simulated = any(given.metrics.get("simulated") for given in collected)
        yield People(made.reference, simulated, [*_amounts(made, collected), *_agreement(made, collected)])


def _amounts(made: Artifact, collected: Sequence[Artifact]) -> Iterator[tuple[str, str, str]]:
    metrics = made.metrics
    pairs, ties = metrics.get("pairs"), metrics.get("ties")
    if collected and "rankings" in collected[0].metrics:
        words = (
            f"each is one judge's order of the answers to one of {collected[0].metrics.get('prompts', 0):,.0f} prompts"
        )
        yield "Rankings", count(collected[0].metrics["rankings"]), words
    if pairs is not None:
        used = f"{metrics['train']:,.0f} to train on, {metrics['test']:,.0f} to test on" if "train" in metrics else ""
        yield "Pairs", count(pairs), f"one answer preferred to another by the majority{'; ' if used else ''}{used}"
    if ties is not None and pairs is not None:
        share = f", {ties / (pairs + ties):.0%} of all comparisons" if pairs + ties else ""
        yield "Ties", count(ties), f"no majority for either answer; never made into pairs{share}"
    if "annotators" in metrics:
        yield "Annotators", count(metrics["annotators"]), ""


def _agreement(made: Artifact, collected: Sequence[Artifact]) -> Iterator[tuple[str, str, str]]:
    metrics = made.metrics
    if "alpha" in metrics:
        words = f"{read_alpha(metrics['alpha'])}. 0 is chance, 1 is perfect"
        yield "Krippendorff's alpha", _with_interval(metrics, "alpha"), words
    if "pairwise_agreement" in metrics:
        value = metrics["pairwise_agreement"]
        yield "Pairwise agreement", _with_interval(metrics, "pairwise_agreement"), read_pairwise(value)
    if "kendall_w" in metrics:
        got = collected[0].metrics if collected else {}
        judges = got["rankings"] / got["prompts"] if got.get("prompts") and "rankings" in got else None
        yield "Kendall's W", _with_interval(metrics, "kendall_w"), read_kendall_w(metrics["kendall_w"], judges)
    if not {"alpha", "pairwise_agreement", "kendall_w"} & set(metrics):
        yield "Agreement", NONE, "unknown: no task was judged by two people"


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return f"{metrics[name]:.2f}{interval}"


class RewardModelRow(NamedTuple):
    """A reward model and its figures: (value, description)."""

    name: str
    reference: str
    figures: Sequence[tuple[str, str]]


def reward_models(seen: Comparison) -> list[RewardModelRow]:
    """Return the accuracy of each reward model on held-out pairs, and that of length and of people for comparison."""
    forms = {
        "accuracy": ("{:.2f}", "of held-out pairs ranked as people ranked them"),
        "accuracy_longer": ("{:.2f}", "of the same pairs, if the longer answer always won"),
        "accuracy_people": (
            "{:.2f}",
            "of pairs on which one person agrees with the majority of the others: the upper limit",
        ),
        "calibration_error": ("{:.2f}", "mean distance between predicted and observed P(chosen wins)"),
        "pairs": ("{:,.0f}", "pairs trained on"),
    }
    return [
        RewardModelRow(
            stage_of(made),
            made.reference,
            [(form.format(made.metrics[key]), words) for key, (form, words) in forms.items() if key in made.metrics],
        )
        for made in seen.reward_models
    ]


class GateRow(NamedTuple):
    """One verdict of a gate, and the arms that it is about."""

    arms: Sequence[Policy]
    verdict: GateVerdict


def gate_rows(seen: Comparison) -> list[GateRow]:
    """Return the verdicts of the gates, warnings first. Equal verdicts on several arms become one row."""
    found = [(arm, verdict) for arm in seen.arms if arm.artifact for verdict in read_gates(arm.artifact)]
    verdicts = [verdict for i, (_, verdict) in enumerate(found) if verdict not in [other for _, other in found[:i]]]
    rows = [GateRow([arm for arm, other in found if other == verdict], verdict) for verdict in verdicts]
    return sorted(rows, key=lambda row: row.verdict.passed)


class LineageRow(NamedTuple):
    stage: str
    version: str
    origin: Sequence[tuple[str, str, bool]]
    created: str
    seconds: str
    main: str
    settings: Sequence[tuple[str, str]]


def lineage_rows(seen: Comparison) -> list[LineageRow]:
    return [_lineage_row(made) for made in seen.made]


def _lineage_row(made: Artifact) -> LineageRow:
    manifest = made.manifest
    settings: dict[str, Any] = {k: v for k, v in flat(manifest.get("config", {})) if v is not None}
    if made.is_external:
        settings = {k: v for k, v in flat(made.source) if v is not None}
    names = [name for name in MAIN_SETTINGS if name in settings]
    names += [name for name in settings if name not in names][: max(0, SETTINGS_SHOWN - len(names))]
    return LineageRow(
        stage=stage_of(made),
        version=made.version,
        origin=list(made_from(made)),
        created=time_text(manifest["created"]) if "created" in manifest else NONE,
        seconds=duration(manifest["seconds"]) if "seconds" in manifest else NONE,
        main=", ".join(f"{name} {_setting(settings[name])}" for name in names),
        settings=[(name, _setting(value)) for name, value in settings.items()] if len(settings) > len(names) else [],
    )


def _setting(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
