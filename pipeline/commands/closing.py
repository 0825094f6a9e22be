"""The output at the end of a run: the table of win rates, the report's path, and the next commands."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from pipeline.commands.next_steps import as_lines, next_steps
from pipeline.config.remembered import Request
from pipeline.config.schema import PipelineConfig
from pipeline.console import console
from pipeline.engine.planner import Step
from pipeline.evaluation.best_of import evaluated_names
from pipeline.evaluation.comparison import BY_PEOPLE
from pipeline.gates.rules import remark_on_judge
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store


def print_results(config: PipelineConfig, steps: list[Step], request: Request) -> None:
    """Print the results of a finished chain and the possible next commands."""
    store, last = Store(Path(config.outputs), config.project), steps[-1]
    if config.plan:
        if not all(step.complete for step in steps):
            console.print(f"Run     {escape(request.same_run())}")
        return
    artifact = store.open(last.name, last.version)
    if last.stage.compares_policies:
        console.print(policies_table(artifact, config))
        sentences = [*head_to_head(artifact.metrics)]
        for sentence in sentences if len(sentences) <= MOST_SENTENCES else ():
            console.print(f" {sentence}")
    for line in as_lines(next_steps(replace(last, complete=True), config, store, request)):
        console.print(escape(line))


class Column(NamedTuple):
    """A column of the closing table: its title, its metric, and the metric's format."""

    title: str
    metric: str
    form: str


MOST_SENTENCES = 6  # comparisons of two arms below the table; the report has the important ones of more
MIN_COLUMNS = 100  # terminal columns needed to show all metrics
LEFT_OUT = ("perfect", "perplexity")  # metrics that narrower terminals omit

COLUMNS = (
    Column("win rate (95%)", "win_rate", "{:.2f} [{win_rate_low:.2f}, {win_rate_high:.2f}]"),
    Column("true score", "true_score", "{:.2f}"),
    Column("judge", "judge_reward", "{:.2f}"),
    Column("reward", "reward", "{:.2f}"),
    Column("perfect", "perfect", "{:.0%}"),
    Column("KL", "kl", "{:.2f}"),
    Column("length", "length", "{:.1f}"),
    Column("stopped", "stopped", "{:.0%}"),
    Column("perplexity", "perplexity", "{:.2f}"),
)


def policies_table(artifact: Artifact, config: PipelineConfig) -> Table:
    """Return a table with one row per policy, from the metrics of `evaluate`."""
    metrics = artifact.metrics
    title = f"{metrics['prompts']:.0f} held-out prompts, against {config.evaluate.baseline}{decided_by(metrics)}"
    gap = 2 if console.width >= MIN_COLUMNS else 1
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, gap, 0, 0))
    known = [column for column in COLUMNS if any(key.endswith(f"/{column.metric}") for key in metrics)]
    shown = [column for column in known if console.width >= MIN_COLUMNS or column.metric not in LEFT_OUT]
    table.add_column(" policy", no_wrap=True)
    for column in shown:
        table.add_column(column.title, justify="left" if column.metric == "win_rate" else "right", no_wrap=True)
    for name in evaluated_names(config.evaluate.policies, config.evaluate.best_of):
        own = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
        cells = [column.form.format(own[column.metric], **own) if column.metric in own else "—" for column in shown]
        table.add_row(f" {name}", *(cell.replace("[", r"\[") for cell in cells))
    return table


def decided_by(metrics: Mapping[str, float]) -> str:
    """Return which scorer decides the wins, as the end of a title; empty without win rates."""
    if not any(key.endswith("/win_rate") and not key.startswith(BY_PEOPLE) for key in metrics):
        return ""
    if any(key.endswith("/true_score") for key in metrics):
        return ", wins by the true scorer"
    remark = remark_on_judge(metrics)
    return f", wins by the independent judge{f' ({remark})' if remark else ''}"


def head_to_head(metrics: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for each two arms on the same prompts: `ppo against dpo: wins 0.56 [0.52, 0.60], head to head`.

    Leaves out pairs with the base model, unless people judged them.
    """
    for key, rate in metrics.items():
        first, against, rest = key.partition("/against/")
        second, _, metric = rest.rpartition("/")
        by_people = first.startswith(BY_PEOPLE)
        if against and metric == "win_rate" and (by_people or "base" not in (first, second)):
            low, high = metrics[f"{key}_low"], metrics[f"{key}_high"]
            how = "in people's blind test" if by_people else "head to head"
            yield rf"{first.removeprefix(BY_PEOPLE)} against {second}: wins {rate:.2f} \[{low:.2f}, {high:.2f}], {how}"
