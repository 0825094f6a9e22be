"""`compare`: one self-contained report on which policy fits the preferences better, and how certain that is.

With `compare.inputs.abtest=abtest`, people's blind A/B test stands beside the scorers; with `evaluate.judges`, language
models do.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from pipeline.config.nodes.evaluation import CompareConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.comparison import BY_PEOPLE, comparison
from pipeline.evaluation.protocol import protocol
from pipeline.report.policies import write_report
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext
from pipeline.store.artifact import Artifact


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    judges: Mapping[str, Reference] = {"judges": FromStage("llm_judges")} if config.evaluate.judges else {}
    return {"evaluation": FromStage("evaluate"), **judges}


def run(config: CompareConfig, context: StageContext) -> Metrics:
    from pipeline.stages import STAGES  # imported here because it imports this module

    evaluation = context.inputs["evaluation"]
    abtest, judges = context.inputs.get("abtest"), context.inputs.get("judges")
    seen = comparison(evaluation, read_jsonl(evaluation.file("answers.jsonl")), STAGES)
    if abtest:
        verdicts = read_jsonl(abtest.file("verdicts.jsonl"))
        _check_about("abtest", abtest.inputs["blind"], evaluation)
        seen = replace(seen, abtest=abtest, judged=verdicts)
    if judges:
        figures = json.loads(judges.file("judges.json").read_text(encoding="utf-8"))
        _check_about("judges", judges, evaluation)
        seen = replace(seen, judges=figures)
    write_report(context.output_dir / "report.html", seen, config.examples)
    terms = protocol(seen)
    if terms and not terms.equal:
        context.say(terms.text)
    by_people = {f"{BY_PEOPLE}{name}": value for name, value in (abtest.metrics if abtest else {}).items()}
    return {**evaluation.metrics, **by_people, "equal_terms": float(terms is None or terms.equal)}


def _check_about(role: str, judged: Artifact, evaluation: Artifact) -> None:
    """Raise `RequestError` if another evaluation's answers were judged."""
    about = judged.manifest["inputs"]["evaluation"]["version"]
    if about != evaluation.version:
        raise RequestError(
            f"compare.inputs.{role}: it is about the answers of evaluate@{about}, and this report about those of "
            f"{evaluation.reference}. Report on the former: compare.inputs.evaluation=evaluate@{about}; or have the "
            f"latter judged."
        )


def summary(metrics: Mapping[str, float]) -> str:
    return "report.html"


STAGE = Stage("compare", CompareConfig, inputs, run, summary, compares_policies=True)
