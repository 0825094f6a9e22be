"""`collect`: people's rankings so far, or on the playground the rankings of simulated annotators.

With people, this is a snapshot: if there are too few rankings, the command ends with exit status 3. Simulated
annotators see the playground's true score with random errors. On a server, each logs in with its own key.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labeling.backend import AnnotatorAnswer, Round
from labeling.pace import paces, reading_seconds
from labeling.records import Message, Ranking
from labeling.simulated import SimulatedAnnotator, annotate
from labeling.trust import measured
from pipeline.config.nodes.people import AbtestConfig, CollectConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import write_jsonl
from pipeline.errors import RequestError
from pipeline.people.rounds import partial_text, rankings_of, read_round
from pipeline.people.trust import write_annotators
from pipeline.people.waiting import ask
from pipeline.playground.scorer import true_score
from pipeline.stage import Asking, FromStage, Metrics, PeopleContext, Reference, Stage


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if not config.labeling.annotators and config.data.source != "playground":
        raise RequestError(
            f"Who is to rank? Simulated annotators know good answers in the playground only, and data.source is "
            f"'{config.data.source}'. Name people: labeling.annotators=[annotator1,annotator2]; or bring their "
            "rankings: labeling=file labeling.path=FILE."
        )
    return {"publish": FromStage("publish")}


def asks(config: PipelineConfig) -> bool:
    return bool(config.labeling.annotators) and config.labeling.backend != "file"


def observe(config: CollectConfig, context: PeopleContext) -> dict[str, Any]:
    """Return all submitted and discarded answers of the round; publish its tasks first if they are missing.

    Raises `WaitingForPeople` if there are not enough answers.
    """
    asked = read_round(context.inputs["publish"], context.people)

    def usable(answers: Sequence[AnnotatorAnswer]) -> bool:
        return bool(rankings_of(asked, answers))

    return ask("collect", config, context.people, context.say, asked, usable, partial_text, context.standing)


def run(config: CollectConfig, context: PeopleContext) -> Metrics:
    published, people = context.inputs["publish"], context.people
    asked = read_round(published, people)
    if context.observed is None:
        answers, whole, simulated = simulated_answers(config, context, asked), True, {"simulated": 1.0}
    else:
        answers, whole, simulated = context.observed["answers"], context.observed["whole"], {}
    checks = json.loads(published.file("checks.json").read_text(encoding="utf-8"))
    rankings = rankings_of(asked, answers, {*checks["repeats"], *checks["gold"]})
    discards = [answer for answer in answers if answer["status"] == "discarded"]
    about = measured(answers, rankings, checks)
    reading = {task["id"]: reading_seconds(task) for queue in asked.queues for task in queue.tasks}
    timed = {} if simulated else paces(answers, reading)  # a program needs no time to read
    title = "SIMULATED annotators" if simulated else "annotators"
    suspects = write_annotators(about, rankings, context.output_dir, context.say, paces=timed, title=title)
    write_jsonl(context.output_dir / "rankings.jsonl", rankings)
    write_jsonl(context.output_dir / "discards.jsonl", map(_discard, discards))
    return {
        "rankings": sum(len(row["rankings"]) for row in rankings),
        "prompts": len(rankings),
        "annotators": len(about),
        "discarded": len(discards),
        "complete": float(whole),
        **_pooled("consistency", [one["consistency"] for one in about.values() if "consistency" in one]),
        **_pooled("gold_accuracy", [one["accuracy"] for one in about.values() if "accuracy" in one]),
        **suspects,
        **simulated,
    }


def _discard(answer: AnnotatorAnswer) -> dict[str, str]:
    return {"id": answer["task"], "annotator": answer["annotator"], "reason": answer["comment"]}


def _pooled(name: str, shares: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the share over all annotators' comparisons as a metric; empty without comparisons."""
    total = sum(one["comparisons"] for one in shares)
    return {name: sum(one["share"] * one["comparisons"] for one in shares) / total} if total else {}


def simulated_answers(
    config: CollectConfig | AbtestConfig, context: PeopleContext, asked: Round
) -> list[AnnotatorAnswer]:
    """Let simulated annotators rank through the backend, each with its own account, and return their answers."""
    people = context.people
    annotators = [SimulatedAnnotator(name, config.noise, config.tie_width) for name in people.names]
    ranked = [
        row
        for queue in asked.queues
        for row in annotate(queue.tasks, annotators, queue.overlap, config.seed, quality, most=queue.most)
    ]
    answers = [answer for row in ranked for answer in _answers(row)]
    with context.progress("simulated annotators rank", len(answers)) as advance:
        people.publish(asked)
        people.submit(asked, answers, advance)
        return people.answers(asked)


def _answers(ranking: Ranking) -> Iterator[AnnotatorAnswer]:
    for one in ranking["rankings"]:
        yield AnnotatorAnswer(
            task=ranking["id"], annotator=one["annotator"], status="submitted", ranks=one["ranks"], comment=""
        )


def quality(prompt: Sequence[Message], response: str) -> float:
    """Return the quality that simulated annotators perceive, before their errors: the true score."""
    return true_score(prompt[-1]["content"], response)


def summary(metrics: Mapping[str, float]) -> str:
    simulated = " SIMULATED" if metrics.get("simulated") else ""
    partial = "" if metrics.get("complete", 1) == 1 else ", PARTIAL"
    return f"{metrics['rankings']:,.0f} rankings by {metrics['annotators']:.0f}{simulated} annotators{partial}"


ASKING = Asking(
    about="publish",
    applies=asks,
    observe=observe,
    reused="ranked before, answers of {authors}: nobody is asked again (`stage=publish` asks about new answers)",
    again="looking again at the answers of {authors} (`stage=publish` asks about new answers)",
)
STAGE = Stage(
    "collect",
    CollectConfig,
    inputs,
    run,
    summary,
    asking=ASKING,
    meets_people=True,
    keeps_human_work=True,
    is_shared=True,
)
