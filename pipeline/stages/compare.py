"""`compare`: one self-contained report on which policy fits the preferences better, and how certain that is."""

from collections.abc import Mapping

from pipeline.config.schema import CompareConfig, PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.evaluation.comparison import comparison
from pipeline.evaluation.protocol import protocol
from pipeline.report.policies import write_report
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"evaluation": FromStage("evaluate")}


def run(config: CompareConfig, context: StageContext) -> Metrics:
    from pipeline.stages import STAGES  # imported here because it imports this module

    evaluation = context.inputs["evaluation"]
    seen = comparison(evaluation, read_jsonl(evaluation.file("answers.jsonl")), STAGES)
    write_report(context.output_dir / "report.html", seen, config.examples)
    terms = protocol(seen)
    if terms and not terms.equal:
        context.say(terms.text)
    return {**evaluation.metrics, "equal_terms": float(terms is None or terms.equal)}


def summary(metrics: Mapping[str, float]) -> str:
    return "report.html"


STAGE = Stage("compare", CompareConfig, inputs, run, summary, compares_policies=True)
