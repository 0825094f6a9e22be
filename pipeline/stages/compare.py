"""`compare`: one self-contained report on which policy fits the preferences better, and how certain that is.

With `compare.inputs.abtest=abtest`, people's blind A/B test stands beside the scorers.
"""

from collections.abc import Mapping, Sequence

from pipeline.config.schema import CompareConfig, PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.comparison import BY_PEOPLE, Row, comparison
from pipeline.evaluation.protocol import protocol
from pipeline.report.policies import write_report
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext
from pipeline.store.artifact import Artifact


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"evaluation": FromStage("evaluate")}


def run(config: CompareConfig, context: StageContext) -> Metrics:
    from pipeline.stages import STAGES  # imported here because it imports this module

    evaluation = context.inputs["evaluation"]
    abtest = context.inputs.get("abtest")
    judged = _verdicts_on(evaluation, abtest) if abtest else []
    seen = comparison(evaluation, read_jsonl(evaluation.file("answers.jsonl")), STAGES, abtest, judged)
    write_report(context.output_dir / "report.html", seen, config.examples)
    terms = protocol(seen)
    if terms and not terms.equal:
        context.say(terms.text)
    by_people = {f"{BY_PEOPLE}{name}": value for name, value in (abtest.metrics if abtest else {}).items()}
    return {**evaluation.metrics, **by_people, "equal_terms": float(terms is None or terms.equal)}


def _verdicts_on(evaluation: Artifact, abtest: Artifact) -> Sequence[Row]:
    """Return the verdicts of a blind A/B test. Raises `RequestError` if it is about another evaluation."""
    rows: Sequence[Row] = read_jsonl(abtest.file("verdicts.jsonl"))
    about = abtest.inputs["blind"].manifest["inputs"]["evaluation"]["version"]
    if about != evaluation.version:
        raise RequestError(
            f"compare.inputs.abtest: people judged the answers of evaluate@{about}, and this report is about "
            f"{evaluation.reference}. Report on those: compare.inputs.evaluation=evaluate@{about}; or ask about these: "
            "compare.inputs.abtest=abtest."
        )
    return rows


def summary(metrics: Mapping[str, float]) -> str:
    return "report.html"


STAGE = Stage("compare", CompareConfig, inputs, run, summary, compares_policies=True)
