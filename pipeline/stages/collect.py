"""`collect`: what people have ranked by now, or, in the playground, what simulated annotators rank.

With people this is a snapshot: nothing waits in memory, and below the quorum the command ends with status 3. Simulated
annotators see the playground's true score through an error of their own; on a server they log in with their own keys.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labeling.backend import Answer, Progress, Round, progress
from labeling.quality import AnnotatorQuality, Share, annotator_quality
from labeling.records import Message, Ranking
from labeling.simulated import SimulatedAnnotator, annotate
from pipeline.config import CollectConfig, PipelineConfig
from pipeline.console import counting
from pipeline.data.rows import write_jsonl
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.files import write_atomically
from pipeline.people import People
from pipeline.playground.scorer import true_score
from pipeline.rounds import complete_only, partial_text, rankings_of, read_round, waiting_text
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext

POLL = 5.0  # seconds between two looks at a server, with collect.wait=true
PATIENCE = 60  # looks in a row at a server that does not answer


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


def observe(config: CollectConfig, context: StageContext) -> dict[str, Any]:
    """All submitted and discarded answers of the round, once there are enough; the tasks are put there if need be.

    Raises `WaitingForPeople` if there are not enough.
    """
    people = context.people
    asked = read_round(context.inputs["publish"], people)
    added = people.publish(asked)
    if added:
        context.say(f"{added:,} tasks put on {people.address}")
    invited = people.invite()
    if invited:
        context.say(f"invitations (private) for {', '.join(invited)}: {people.invitations}")
    answers, so_far = _awaited(config, people, asked) if config.wait else _looked(people, asked)
    chosen = answers if so_far.done else complete_only(asked, answers)
    if not so_far.done and (config.accept != "partial" or not rankings_of(asked, chosen)):
        text = waiting_text(asked, so_far, people.workspace)
        raise WaitingForPeople(
            f"{text}\nAnnotators  {people.address}   invitations: {people.invitations}",
            partial_text(asked, answers),
        )
    return {"answers": chosen, "whole": so_far.done}


def _looked(people: People, asked: Round) -> tuple[list[Answer], Progress]:
    answers = people.answers(asked)
    return answers, progress(asked, answers, people.names)


def _awaited(config: CollectConfig, people: People, asked: Round) -> tuple[list[Answer], Progress]:
    """Looks again and again until all is answered; a server that is away for a while is borne with."""
    missed = 0
    with counting(sum(len(queue.tasks) * queue.overlap for queue in asked.queues)) as show:
        while True:
            try:
                answers, so_far = _looked(people, asked)
                missed = 0
                show(so_far.answers, so_far.by_annotator)
                if so_far.done:
                    return answers, so_far
            except RequestError:
                raise
            except PipelineError:
                missed += 1
                if missed == PATIENCE:
                    raise
            time.sleep(POLL)


def run(config: CollectConfig, context: StageContext) -> Metrics:
    published, people = context.inputs["publish"], context.people
    asked = read_round(published, people)
    if context.observed is None:
        answers, whole, simulated = _simulated(config, context, asked), True, {"simulated": 1.0}
    else:
        answers, whole, simulated = context.observed["answers"], context.observed["whole"], {}
    checks = json.loads(published.file("checks.json").read_text(encoding="utf-8"))
    rankings = rankings_of(asked, answers, {*checks["repeats"], *checks["gold"]})
    discards = [answer for answer in answers if answer["status"] == "discarded"]
    known = annotator_quality(answers, rankings, checks)
    write_jsonl(context.output_dir / "rankings.jsonl", rankings)
    write_jsonl(context.output_dir / "discards.jsonl", map(_discard, discards))
    about = {name: _about(one) for name, one in known.items()}
    write_atomically(context.output_dir / "annotators.json", json.dumps(about, indent=2))
    return {
        "rankings": sum(len(row["rankings"]) for row in rankings),
        "prompts": len(rankings),
        "annotators": len(known),
        "discarded": len(discards),
        "complete": float(whole),
        **_pooled("consistency", [one.consistency for one in known.values()]),
        **_pooled("gold_accuracy", [one.accuracy for one in known.values()]),
        **simulated,
    }


def _discard(answer: Answer) -> dict[str, str]:
    return {"id": answer["task"], "annotator": answer["annotator"], "reason": answer["comment"]}


def _about(one: AnnotatorQuality) -> dict[str, Any]:
    shares = {"consistency": one.consistency, "accuracy": one.accuracy, "agreement": one.agreement}
    found = {name: share._asdict() for name, share in shares.items() if share.comparisons}
    return {"submitted": one.submitted, "discarded": one.discarded, **found}


def _pooled(name: str, shares: Sequence[Share]) -> dict[str, float]:
    """One share over all annotators' comparisons, where there are any."""
    total = sum(one.comparisons for one in shares)
    return {name: sum(one.share * one.comparisons for one in shares if one.comparisons) / total} if total else {}


def _simulated(config: CollectConfig, context: StageContext, asked: Round) -> list[Answer]:
    """What simulated annotators rank: through the server where there is one, each with a key of their own."""
    people = context.people
    annotators = [SimulatedAnnotator(name, config.noise, config.tie_width) for name in people.names]
    ranked = [
        row for queue in asked.queues for row in annotate(queue.tasks, annotators, queue.overlap, config.seed, quality)
    ]
    answers = [answer for row in ranked for answer in _answers(row)]
    if not people.on_a_server:
        return sorted(answers, key=lambda answer: (answer["task"], answer["annotator"]))
    with context.progress("simulated annotators rank", len(answers)) as advance:
        people.publish(asked)
        people.submit(asked, answers, advance)
        return people.answers(asked)


def _answers(ranking: Ranking) -> Iterator[Answer]:
    for one in ranking["rankings"]:
        yield Answer(task=ranking["id"], annotator=one["annotator"], status="submitted", ranks=one["ranks"], comment="")


def quality(prompt: Sequence[Message], response: str) -> float:
    """What simulated annotators perceive, before their own error."""
    return true_score(prompt[-1]["content"], response)


def summary(metrics: Mapping[str, float]) -> str:
    simulated = " SIMULATED" if metrics.get("simulated") else ""
    partial = "" if metrics.get("complete", 1) == 1 else ", PARTIAL"
    return f"{metrics['rankings']:,.0f} rankings by {metrics['annotators']:.0f}{simulated} annotators{partial}"


STAGE = Stage("collect", CollectConfig, inputs, run, summary, asks=asks, observe=observe)
