"""`llm_judges`: language models compare the evaluated answers, after each was measured on people's preferences.

A judge compares answers in both orders (`pipeline.evaluation.llm_judges`). On people's test pairs it shows how often it
agrees with them, beside how often people agree with each other. A second draw of the baseline against the first shows
the win rate that it sees where there is no difference. `judges.json` has all figures of each judge.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.config.fields import is_endpoint
from pipeline.config.nodes.evaluation import LlmJudgeConfig, LlmJudgesConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.llm_judges import Contest, habits, longer_wins, rate, replies, requests
from pipeline.files import write_atomically
from pipeline.report.llm_judges import judge_text
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext, policy
from pipeline.stages.writers import PolicyWriter, RemoteWriter, Writer
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import drawing_of

Row = Mapping[str, Any]


class Contests(NamedTuple):
    """What each judge compares: people's pairs, the baseline with itself, and each policy with the baseline."""

    people: Sequence[Contest]  # the chosen answer is the first
    same: Sequence[Contest]
    policies: Mapping[str, Sequence[Contest]]


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    judges = config.llm_judges.judges
    if not judges:
        raise RequestError(
            "Who is to judge? Name language models: 'evaluate.judges=[{judge: https://HOST/v1, model: NAME}]', or a "
            "policy: 'evaluate.judges=[{judge: sft}]'."
        )
    local = {one.judge: policy(config, one.judge) for one in judges if not is_endpoint(one.judge)}
    return {"evaluation": FromStage("evaluate"), "preferences": FromStage("preferences"), **local}


def run(config: LlmJudgesConfig, context: StageContext) -> Metrics:
    evaluation, preferences = context.inputs["evaluation"], context.inputs["preferences"]
    rows = read_jsonl(evaluation.file("answers.jsonl"))[: config.prompts]
    pairs = read_jsonl(preferences.file("test.jsonl"))
    pairs = random.Random(config.seed).sample(pairs, min(config.pairs, len(pairs)))
    policies, baseline = evaluation.manifest["config"]["policies"], evaluation.manifest["config"]["baseline"]
    contests = Contests(
        people=[Contest(row["prompt"], _answer(row["chosen"]), _answer(row["rejected"])) for row in pairs],
        same=_second_draw(rows, evaluation, baseline, config.seed + 1, context),
        policies={name: [_contest(row, name, baseline) for row in rows] for name in policies if name != baseline},
    )
    ceiling = preferences.metrics.get("accuracy_people")
    judged = []
    for place, judge in enumerate(config.judges or ()):
        writer = _writer(judge, config, context)
        judged.append({"name": judge.label, **_figures(writer, contests, f"judge {place}"), "people": ceiling})
        context.say(judge_text(judged[-1]))
    write_atomically(context.output_dir / "judges.json", json.dumps(judged, indent=2, ensure_ascii=False))
    metrics = {f"{one['name']}/{key}": value for one in judged for key, value in _flat(one)}
    return {"judges": len(judged), "prompts": len(rows), "pairs": len(pairs), **metrics}


def _answer(turns: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(turn["content"] for turn in turns)


def _contest(row: Row, first: str, second: str) -> Contest:
    return Contest(row["prompt"], row["answers"][first]["text"], row["answers"][second]["text"])


def _second_draw(
    rows: Sequence[Row], evaluation: Artifact, baseline: str, seed: int, context: StageContext
) -> list[Contest]:
    """Return the baseline's answers against a second draw of its own, with the decoding of the evaluation."""
    from pipeline.modeling.answering import Answerer

    if baseline not in evaluation.inputs:
        raise RequestError(f"{evaluation.reference}: its baseline {baseline} has been removed. Evaluate again.")
    answerer = Answerer(evaluation.inputs[baseline], context, seed)
    decoding = replace(DecodingConfig(**drawing_of(evaluation)), batch_size=None)  # as many at once as fit here
    drawn = answerer.draw([row["prompt"] for row in rows], decoding, "second draw")
    return [
        Contest(row["prompt"], row["answers"][baseline]["text"], answer.text)
        for row, answer in zip(rows, drawn, strict=True)
    ]


def _writer(judge: LlmJudgeConfig, config: LlmJudgesConfig, context: StageContext) -> Writer:
    if judge.judge in context.inputs:
        return PolicyWriter(context.inputs[judge.judge], config.decoding, config.seed, context)
    assert judge.model is not None
    return RemoteWriter(judge.judge, judge.model, config.decoding, config.seed, config.concurrency, context)


def _figures(writer: Writer, contests: Contests, what: str) -> dict[str, Any]:
    """Let a judge compare everything. Returns its agreement with people, its habits, its win rates and its cost."""
    groups = [contests.people, contests.same, *contests.policies.values()]
    written = writer.write(requests([one for group in groups for one in group]), what)
    left = iter(replies([answer.text for answer in written]))
    people, same, *others = ([next(left) for _ in group] for group in groups)
    return {
        "agreement": rate(people),
        "same": rate(same),
        "win_rates": {name: rate(own) for name, own in zip(contests.policies, others, strict=True)},
        **habits(contests.people, people)._asdict(),
        "longer_by_people": longer_wins(contests.people),
        "refused": sum(answer.refused for answer in written),
        "questions": len(written),
        "tokens": sum(answer.tokens for answer in written),
    }


def _flat(figures: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return a judge's figures as flat metrics."""
    rates = {"agreement": figures["agreement"], "same/win_rate": figures["same"]}
    rates |= {f"{name}/win_rate": one for name, one in figures["win_rates"].items()}
    numbers = [(key, float(value)) for key, value in figures.items() if isinstance(value, int | float)]
    ends = ("", "_low", "_high")
    return numbers + [
        (f"{key}{end}", value) for key, one in rates.items() for end, value in zip(ends, one, strict=True)
    ]


def summary(metrics: Mapping[str, float]) -> str:
    found = {key.removesuffix("/agreement"): value for key, value in metrics.items() if key.endswith("/agreement")}
    shown = ", ".join(f"{name} agrees with people {value:.2f}" for name, value in found.items())
    return shown or f"{metrics['judges']:.0f} judges on {metrics['prompts']:,.0f} prompts"


STAGE = Stage("llm_judges", LlmJudgesConfig, inputs, run, summary, version=2, is_side_branch=True)
