"""`synthesize`: turns drafts into demonstrations when people have accepted or corrected them in Argilla.

Writes `demonstrations.jsonl` (each row names its writer, reviewers and correctors) and `rejected.jsonl` (each row has
the reason and all reviews). Like `collect`, this is a snapshot: with too few reviews, the command ends with exit
status 3. With `synthesize.review=false`, all drafts are used and their rows are marked as unreviewed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from labeling.backend import AnnotatorAnswer, Round
from labeling.guidelines import shipped
from pipeline.config.nodes.demonstrations import SynthesizeConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.data.synthetic.drafts import Draft, Rejected, Reviewed, as_unreviewed, pool_reviews
from pipeline.errors import RequestError
from pipeline.people.rounds import complete_only, review_round
from pipeline.people.waiting import ask
from pipeline.stage import Asking, FromFiles, FromStage, Metrics, PeopleContext, Reference, Stage


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if not config.synthesize.review:
        return {"draft": FromStage("draft")}
    if not config.labeling.annotators:
        raise RequestError(
            "drafts are reviewed by people: name them with labeling.annotators=[…], or train on unreviewed drafts with "
            "synthesize.review=false"
        )
    return {"draft": FromStage("draft"), "guidelines": FromFiles("guidelines", str(shipped("review")))}


def asks(config: PipelineConfig) -> bool:
    return config.synthesize.review and bool(config.labeling.annotators)


def observe(config: SynthesizeConfig, context: PeopleContext) -> dict[str, Any]:
    """Return people's reviews of the drafts; publish the drafts first if they are missing.

    Raises `WaitingForPeople` if there are not enough reviews.
    """
    asked = review_round(context.inputs["draft"].path, context.people)
    return ask("synthesize", config, context.people, context.say, asked, _usable, _partial_text, context.standing)


def run(config: SynthesizeConfig, context: PeopleContext) -> Metrics:
    drafts = cast(list[Draft], read_jsonl(context.inputs["draft"].file("drafts.jsonl")))
    if not config.review:
        return _write(context, [as_unreviewed(draft) for draft in drafts], [])
    answers: list[AnnotatorAnswer] = context.observed["answers"]
    people = {answer["annotator"] for answer in answers}
    complete = {"complete": float(context.observed["whole"]), "annotators": float(len(people))}
    return _write(context, *pool_reviews(drafts, answers)) | complete


def _write(context: PeopleContext, kept: Sequence[Reviewed], rejected: Sequence[Rejected]) -> Metrics:
    write_jsonl(context.output_dir / "demonstrations.jsonl", kept)
    write_jsonl(context.output_dir / "rejected.jsonl", rejected)
    verdicts = [row["verdict"] for row in kept]
    return {
        "demonstrations": len(kept),
        "accepted": verdicts.count("accept"),
        "corrected": verdicts.count("correct"),
        "unreviewed": verdicts.count("unreviewed"),
        "rejected": len(rejected),
    }


def _usable(answers: Sequence[AnnotatorAnswer]) -> bool:
    return any("verdict" in answer for answer in answers)


def _partial_text(asked: Round, answers: Sequence[AnnotatorAnswer]) -> str:
    """Return what `synthesize.accept=partial` would use, such as "12 drafts"; empty if no draft has enough reviews."""
    complete = complete_only(asked, answers)
    return f"{len({answer['task'] for answer in complete}):,} drafts" if _usable(complete) else ""


def summary(metrics: Mapping[str, float]) -> str:
    if metrics["unreviewed"]:
        return f"{metrics['unreviewed']:,.0f} unreviewed drafts"
    partial = "" if metrics.get("complete", 1) == 1 else ", PARTIAL"
    return (
        f"{metrics['accepted']:,.0f} accepted, {metrics['corrected']:,.0f} corrected, "
        f"{metrics['rejected']:,.0f} rejected{partial}"
    )


ASKING = Asking(
    about="draft",
    applies=asks,
    observe=observe,
    reused="reviewed before, drafts of {authors}: not published again (`stage=draft` writes new ones)",
    again="looking again at the drafts of {authors} (`stage=draft` writes new ones)",
)
STAGE = Stage(
    "synthesize",
    SynthesizeConfig,
    inputs,
    run,
    summary,
    asking=ASKING,
    meets_people=True,
    keeps_human_work=True,
    is_side_branch=True,
)
