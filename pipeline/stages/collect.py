"""`collect`: rankings, as they came back. Simulated annotators rank by the playground's true score, with noise."""

from collections.abc import Mapping, Sequence

from labeling.records import Message
from labeling.simulated import SimulatedAnnotator, annotate
from pipeline.config import CollectConfig, PipelineConfig
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.playground.scorer import true_score
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.labeling.backend == "simulated" and config.data.source != "playground":
        raise RequestError(
            "labeling=simulated knows good answers in the playground only, and data.source is "
            f"'{config.data.source}'. Bring people's rankings: labeling=file labeling.path=FILE."
        )
    return {"publish": FromStage("publish")}


def run(config: CollectConfig, context: StageContext) -> Metrics:
    tasks = read_jsonl(context.inputs["publish"].file("tasks.jsonl"))
    annotators = [SimulatedAnnotator(name, config.noise, config.tie_width) for name in config.annotators]
    rankings = annotate(tasks, annotators, config.overlap, config.seed, quality)  # type: ignore[arg-type]
    write_jsonl(context.output_dir / "rankings.jsonl", rankings)
    return {
        "rankings": sum(len(row["rankings"]) for row in rankings),
        "prompts": len(rankings),
        "annotators": len(config.annotators),
        "simulated": 1,
    }


def quality(prompt: Sequence[Message], response: str) -> float:
    """What simulated annotators perceive, before their own error."""
    return true_score(prompt[-1]["content"], response)


def summary(metrics: Mapping[str, float]) -> str:
    simulated = " SIMULATED" if metrics.get("simulated") else ""
    return f"{metrics['rankings']:,.0f} rankings by {metrics['annotators']:.0f}{simulated} annotators"


STAGE = Stage("collect", CollectConfig, inputs, run, summary)
