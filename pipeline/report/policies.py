"""The report on policies: one self-contained HTML file without scripts and network access.

Answers, prompts and names come from models and files, so all text is escaped. Only `charts` and `bars` create markup,
and they escape their inputs.
"""

import json
import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.evaluation.comparison import Comparison, Policy
from pipeline.evaluation.protocol import protocol
from pipeline.files import write_atomically
from pipeline.report import bars, charts, tables
from pipeline.report.abtest import blind_tests
from pipeline.report.correlations import relations
from pipeline.report.curves import trainings
from pipeline.report.examples import choose
from pipeline.report.llm_judges import llm_judges
from pipeline.report.verdicts import caveats, judge, verdicts
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import stage_of

QUALITY = {"true_score": "true score", "judge_reward": "judge's reward", "reward": "reward"}  # most trusted first
STANDARD_ERRORS = 1.96  # standard errors on each side of a mean, for a 95% interval
UNSEEN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}  # shown as ␀, ␁, …


def write_report(path: Path, seen: Comparison, examples: int) -> None:
    """Write the report on one evaluation, with up to `examples` prompts and their answers."""
    write_atomically(path, render(seen, examples))


def render(seen: Comparison, examples: int) -> str:
    html = (
        environment()
        .get_template("report.html.jinja")
        .render(
            seen=seen,
            project=_project(seen.evaluation),
            simulated=any(made.metrics.get("simulated") for made in seen.made),
            protocol=protocol(seen),
            verdicts=verdicts(seen),
            caveats=caveats(seen),
            judge=judge(seen),
            blind_tests=blind_tests(seen),
            llm_judges=llm_judges(seen),
            win_rates=_win_rates(seen),
            frontiers=list(_frontiers(seen)),
            relations=list(relations(seen)),
            gates=tables.gate_rows(seen),
            reward_models=tables.reward_models(seen),
            calibrations=list(_calibrations(seen)),
            distributions=_distributions(seen),
            metrics=tables.metric_rows(seen),
            trainings=list(trainings(seen)),
            costs=tables.cost_rows(seen),
            people=list(tables.people(seen)),
            examples=choose(seen, examples),
            lineage=tables.lineage_rows(seen),
            commands=_commands(seen.evaluation),
            made_with=_made_with(seen.evaluation),
        )
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # UTF-8 cannot encode a lone surrogate


def environment() -> Environment:
    """Return the template environment, which escapes all text."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment


def visible(text: str) -> str:
    """Return text with visible symbols for control characters: a model may produce any of them."""
    return text.replace("\r\n", "\n").translate(UNSEEN)


def _win_rates(seen: Comparison) -> Markup:
    known = [policy for policy in seen.challengers if "win_rate" in policy.metrics]
    if not known or seen.baseline is None:
        return Markup("")
    names = ("win_rate", "win_rate_low", "win_rate_high")
    drawn = [bars.Bar(p.label, p.colour, *(p.metrics[name] for name in names)) for p in known]
    either = [pair for a, b in seen.rivals for pair in ((a, b), (b, a))]
    rivals = [(a, b, f"{a.name}/against/{b.name}") for a, b in either]
    rivals = [(a, b, key) for a, b, key in rivals if f"{key}/win_rate" in seen.metrics]
    for a, b, key in rivals:
        rates = (seen.metrics[f"{key}/{name}"] for name in names)
        drawn.append(bars.Bar(f"{a.label} against {b.label}", a.colour, *rates))
    unless = ", unless another is named" if rivals else ""
    return bars.intervals(drawn, f"win rate against {seen.baseline.label}{unless}, with 95% interval")


def _frontiers(seen: Comparison) -> Iterator[tuple[str, Markup]]:
    """Yield a chart of quality against KL to the baseline, for each known measure of quality."""
    baseline = seen.baseline.label if seen.baseline else "the baseline"
    for quality, name in QUALITY.items():
        known = [policy for policy in seen.policies if quality in policy.metrics and "kl" in policy.metrics]
        if known:
            spots = [_spot(seen, policy, quality) for policy in known]
            yield name, charts.plane(spots, f"KL to {baseline} (nats per answer)", f"mean {name}")


def _spot(seen: Comparison, policy: Policy, quality: str) -> charts.Spot:
    mean = policy.metrics[quality]
    scores = seen.values(policy, "score" if quality == "true_score" else quality)
    half = STANDARD_ERRORS * statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
    return charts.Spot(policy.label, policy.colour, policy.metrics["kl"], mean, mean - half, mean + half)


def _calibrations(seen: Comparison) -> Iterator[tuple[str, Markup]]:
    """Yield the calibration curve of each reward model."""
    for made in seen.reward_models:
        file = made.path / "calibration.json"
        if file.is_file():
            bins = json.loads(file.read_text(encoding="utf-8"))["bins"]
            points = [(one["predicted"], one["observed"], one["pairs"]) for one in bins]
            yield stage_of(made), bars.reliability(points, "predicted: its favourite wins", "observed")


def _distributions(seen: Comparison) -> Sequence[tuple[Policy, Markup]]:
    scores = {policy.name: values for policy in seen.policies if (values := seen.values(policy, "score"))}
    if not scores:
        return []
    highest = max(share for values in scores.values() for share in bars.bin_shares(values))
    return [
        (policy, bars.histogram(scores[policy.name], policy.colour, highest, "true score of an answer"))
        for policy in seen.policies
        if policy.name in scores
    ]


def _project(evaluation: Artifact) -> str:
    """Return the project from the path `outputs/<project>/evaluate/<version>`."""
    return evaluation.path.parent.parent.name


def _commands(evaluation: Artifact) -> list[tuple[str, str]]:
    """Return (command, description) pairs for this evaluation's project and outputs folder."""
    project, root = _project(evaluation), evaluation.path.parent.parent.parent
    options = [] if project == "playground" else [f"project={project}"]
    options += [] if root.name in ("outputs", "") else [f"outputs={root}"]
    end = "".join(f" {shlex.quote(option)}" for option in options)
    return [
        (f"python -m pipeline artifacts lineage {evaluation.reference}{end}", "this tree, drawn"),
        (f"python -m pipeline artifacts verify {evaluation.reference}{end}", "whether these are still the same bytes"),
        (f"python -m pipeline artifacts path {evaluation.reference}{end}", "where all the answers lie (answers.jsonl)"),
    ]


def _made_with(evaluation: Artifact) -> str:
    manifest = evaluation.manifest
    packages = manifest.get("packages", {})
    parts = [f"{name} {packages[name]}" for name in ("torch", "transformers", "trl", "peft") if name in packages]
    host = manifest.get("host", {})
    parts += [f"on {host['system']}, Python {host.get('python', '?')}"] if "system" in host else []
    return ", ".join([*parts, f"git {manifest['git']}"] if manifest.get("git") else parts)
