"""`abtest`: do people prefer one policy to another? They judge pairs of answers without knowing who wrote them.

Like `collect`, this is a snapshot of what people said: with too few verdicts the command ends with exit status 3. By
default it needs no more verdicts once every difference is shown (`abtest.accept=early`). On the playground without
named people, simulated annotators judge.

Writes `rankings.jsonl` (people's answers, as the contract defines them) and `verdicts.jsonl` (a line for each pair).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labeling.backend import AnnotatorAnswer, Round
from labeling.records import Ranking, SlotMap
from labeling.sequential import always_valid, rate_text, shows_difference
from labeling.verdicts import Pair, Verdict, by_policies, left_slot_wins, tally_of, verdicts
from pipeline.config.nodes.people import AbtestConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.abtest import interval, sign_test
from pipeline.evaluation.length_control import length_controlled
from pipeline.people.rounds import blind_round, complete_only, rankings_of
from pipeline.people.waiting import ask
from pipeline.report.abtest import preference_text
from pipeline.stage import Asking, FromStage, Metrics, PeopleContext, Reference, Stage
from pipeline.stages.collect import asks, simulated_answers
from pipeline.store.artifact import Artifact


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if not config.labeling.annotators and config.data.source != "playground":
        raise RequestError(
            "Who is to judge? Simulated annotators know good answers in the playground only. Name people: "
            "labeling.annotators=[annotator1,annotator2]; rankings of your own are then given as "
            "preferences.inputs.rankings=FILE, not as labeling.path."
        )
    return {"blind": FromStage("blind")}


def observe(config: AbtestConfig, context: PeopleContext) -> dict[str, Any]:
    """Return all submitted and discarded answers of the round; publish its tasks first if they are missing.

    Raises `WaitingForPeople` while tasks are left and, with `accept=early`, a difference is not shown.
    """
    asked = blind_round(context.inputs["blind"], config.overlap, context.people)
    test = _Test(context.inputs["blind"])

    def is_usable(answers: Sequence[AnnotatorAnswer]) -> bool:
        return bool(test.verdicts(rankings_of(asked, answers)))

    def partial_text(asked: Round, answers: Sequence[AnnotatorAnswer]) -> str:
        return _so_far_text(test.verdicts(rankings_of(asked, complete_only(asked, answers))))

    def is_enough(answers: Sequence[AnnotatorAnswer]) -> bool:
        return config.accept == "early" and test.is_decided(test.verdicts(rankings_of(asked, answers)))

    return ask("abtest", config, context.people, context.say, asked, is_usable, partial_text, is_enough=is_enough)


def run(config: AbtestConfig, context: PeopleContext) -> Metrics:
    asked = blind_round(context.inputs["blind"], config.overlap, context.people)
    test = _Test(context.inputs["blind"])
    if context.observed is None:
        answers, whole, simulated = simulated_answers(config, context, asked), True, {"simulated": 1.0}
    else:
        answers, whole, simulated = context.observed["answers"], context.observed["whole"], {}
    rankings = rankings_of(asked, answers)
    given = test.verdicts(rankings)
    if not given:
        raise RequestError("Every task was discarded, so there is no verdict. The comments on the page say why.")
    write_jsonl(context.output_dir / "rankings.jsonl", rankings)
    write_jsonl(context.output_dir / "verdicts.jsonl", map(_as_row, given))
    left, decided = left_slot_wins(rankings)
    metrics: Metrics = {
        "judgements": sum(verdict.votes for verdict in given),
        "prompts": len({verdict.pair.prompt for verdict in given}),
        "annotators": len({vote["annotator"] for ranking in rankings for vote in ranking["rankings"]}),
        "discarded": sum(answer["status"] == "discarded" for answer in answers),
        "left_slot": left / decided if decided else 0.5,
        "complete": float(whole or test.is_decided(given)),
        "ended": float(whole),
        **simulated,
    }
    longer = _length_differences(asked, test.slots)
    for (first, second), own in by_policies(given).items():
        measures = _measures(own, longer, ended=whole)
        metrics |= {f"{first}/against/{second}/{name}": value for name, value in measures.items()}
        context.say(preference_text(first, second, tally_of(own), ended=whole, simulated=bool(simulated)))
    return metrics


class _Test:
    """The pairs of a version of `blind` and their slots."""

    def __init__(self, blind: Artifact) -> None:
        self.pairs = [Pair(**row) for row in read_jsonl(blind.file("pairs.jsonl"))]
        self.slots: SlotMap = json.loads(blind.file("slots.json").read_text(encoding="utf-8"))

    def verdicts(self, rankings: Iterable[Ranking]) -> list[Verdict]:
        return verdicts(rankings, self.pairs, self.slots)

    def is_decided(self, given: Sequence[Verdict]) -> bool:
        """Whether the difference between each two policies is shown, by an interval that holds at every look."""
        wanted = {(pair.first, pair.second) for pair in self.pairs}
        found = {policies: always_valid(tally_of(own)) for policies, own in by_policies(given).items()}
        return all(policies in found and shows_difference(found[policies]) for policies in wanted)


def _length_differences(asked: Round, slots: SlotMap) -> dict[str, dict[str, int]]:
    """Map each task to the length of each policy's answer, in characters."""
    return {
        task["id"]: {slot["policy"]: len(text) for slot, text in zip(slots[task["id"]], task["responses"], strict=True)}
        for queue in asked.queues
        for task in queue.tasks
    }


def _measures(given: Sequence[Verdict], lengths: Mapping[str, Mapping[str, int]], *, ended: bool) -> Metrics:
    """Return the measures of one pair of policies.

    The sign test and the interval at equal lengths are for one look: without the planned end they are left out.
    """
    seen, any_look = tally_of(given), always_valid(tally_of(given))
    rate = interval(seen, ended=ended)
    longer = [lengths[v.pair.task][v.pair.first] - lengths[v.pair.task][v.pair.second] for v in given]
    equal = length_controlled([verdict.outcome for verdict in given], longer)
    one_look = {
        "sign_test": sign_test(seen),
        "length_controlled_low": equal.low,
        "length_controlled_high": equal.high,
    }
    return {
        **{"win_rate": rate.value, "win_rate_low": rate.low, "win_rate_high": rate.high},
        **{"any_look_low": any_look.low, "any_look_high": any_look.high},
        **seen._asdict(),
        "both_bad": sum(verdict.both_bad for verdict in given),
        "length_controlled": equal.value,
        **(one_look if ended else {}),
    }


def _as_row(verdict: Verdict) -> dict[str, Any]:
    return {**verdict.pair._asdict(), "outcome": verdict.outcome, "both_bad": verdict.both_bad, "votes": verdict.votes}


def _so_far_text(given: Sequence[Verdict]) -> str:
    """Return what `abtest.accept=partial` would use, such as "40 pairs; ppo against dpo 0.55 [0.31, 0.76]"."""
    rates = {policies: always_valid(tally_of(own)) for policies, own in by_policies(given).items()}
    shown = [f"{first} against {second} {rate_text(rate)}" for (first, second), rate in rates.items()]
    return "; ".join([f"{len(given):,} judged pairs", *shown]) if given else ""


def summary(metrics: Mapping[str, float]) -> str:
    rates = {key.removesuffix("/win_rate"): rate for key, rate in metrics.items() if key.endswith("/win_rate")}
    shown = ", ".join(
        f"{key.replace('/against/', ' against ')} {rate:.2f} "
        f"[{metrics[f'{key}/win_rate_low']:.2f}, {metrics[f'{key}/win_rate_high']:.2f}]"
        for key, rate in rates.items()
    )
    simulated = " SIMULATED" if metrics.get("simulated") else ""
    early = "" if metrics["ended"] else ", stopped early" if metrics["complete"] else ", PARTIAL"
    return f"{shown}, {metrics['prompts']:,.0f} prompts{simulated}{early}"


ASKING = Asking(about="blind", applies=asks, observe=observe, outlives_models=False)
STAGE = Stage(
    "abtest",
    AbtestConfig,
    inputs,
    run,
    summary,
    asking=ASKING,
    meets_people=True,
    keeps_human_work=True,
    is_side_branch=True,
)
