"""What stands at the end of a run: the table of win rates, the report, and what to do next."""

from pathlib import Path

from rich.table import Table

from pipeline.artifacts import Artifact, Store
from pipeline.config import PipelineConfig
from pipeline.console import console
from pipeline.planner import Step


def closing(config: PipelineConfig, steps: list[Step]) -> None:
    """Print the results of a chain that has run to its end."""
    if config.plan:
        return
    store, last = Store(Path(config.outputs), config.project), steps[-1]
    artifact = store.open(last.name, last.version)
    if last.name in ("evaluate", "compare"):
        console.print(policies_table(artifact, config))
    if last.name == "compare":
        console.print(f"Report  {artifact.path / 'report.html'}")
        console.print("Next    python -m pipeline chat sft dpo")
        console.print("        python -m pipeline stage=evaluate dpo.beta=0.3   (only what changes is made again)")
    else:
        console.print(f"Made    {artifact.path}")


def policies_table(artifact: Artifact, config: PipelineConfig) -> Table:
    """One row per policy, from the metrics of `evaluate`."""
    metrics = artifact.metrics
    title = f"{metrics['prompts']:.0f} held-out prompts, against {config.evaluate.baseline}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    columns = {"policy": "left", "win rate (95%)": "left", "true score": "right", "perfect": "right", "KL": "right"}
    for column, side in {**columns, "length": "right", "stopped": "right", "perplexity": "right"}.items():
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for name in config.evaluate.policies:
        shown = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
        rate = "{win_rate:.2f} [{win_rate_low:.2f}, {win_rate_high:.2f}]".format(**shown) if "win_rate" in shown else "—"
        numbers = [f"{shown[key]:.2f}" if key in shown else "—" for key in ("true_score", "perfect", "kl")]
        rest = [f"{shown['length']:.1f}", f"{shown['stopped']:.0%}", f"{shown['perplexity']:.2f}"]
        table.add_row(name, rate.replace("[", r"\["), *numbers, *rest)
    return table
