"""`evaluate`: policies side by side on prompts that none of them was trained on, all with the same decoding.

One policy is in memory at a time. KL to the baseline is estimated on each policy's own answers, as the mean over
answers of log p(answer) - log p_baseline(answer), summed over tokens (the k1 estimate, in nats per answer).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.config import EvaluateConfig, PipelineConfig
from pipeline.data.rows import prompt_id, read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.winrates import win_rate
from pipeline.playground.scorer import is_perfect, true_score
from pipeline.playground.world import parse
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext, policy

Row = dict[str, Any]


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    policies, baseline = config.evaluate.policies, config.evaluate.baseline
    if baseline not in policies:
        raise RequestError(f"evaluate.baseline={baseline} is not among evaluate.policies={policies}.")
    return {**{name: policy(config, name) for name in policies}, "data": FromStage("data")}


def run(config: EvaluateConfig, context: StageContext) -> Metrics:
    rows: list[Row] = read_jsonl(context.inputs["data"].file("test.jsonl"))[: config.prompts]
    if not rows:
        raise RequestError("There are no test prompts: set data.split.test above 0.")
    prompts = [row["prompt"] for row in rows]
    metrics: Metrics = {"prompts": len(rows)}
    answered = {name: _answered(name, context.inputs[name], config, context, rows, metrics) for name in config.policies}
    _add_kl(context.inputs[config.baseline], config, context, prompts, answered, metrics)
    if all(parse(prompt[-1]["content"]) for prompt in prompts):  # the playground's, of which the truth is known
        _add_truth(config.baseline, prompts, answered, metrics)
    written = [
        {"id": prompt_id(row["prompt"]), **row, "answers": {name: answers[i] for name, answers in answered.items()}}
        for i, row in enumerate(rows)
    ]
    write_jsonl(context.output_dir / "answers.jsonl", written)
    return metrics


def _answered(
    name: str, artifact: Artifact, config: EvaluateConfig, context: StageContext, rows: Sequence[Row], metrics: Metrics
) -> list[Row]:
    """One policy's answers, with their tokens and log-probabilities; its own metrics are added."""
    from pipeline.modeling.answering import Answerer

    answerer = Answerer(artifact, context, config.seed)
    prompts, batch_size = [row["prompt"] for row in rows], config.decoding.batch_size
    answers = answerer.draw(prompts, config.decoding, f"evaluate {name}")
    logprobs = answerer.logprobs(prompts, [answer.ids for answer in answers], batch_size)
    references = [answerer.chat.answer(row["prompt"], row["reference"]) for row in rows]
    surprise = answerer.logprobs(prompts, references, batch_size)
    metrics[f"{name}/length"] = _mean([len(answer.ids) for answer in answers])
    metrics[f"{name}/stopped"] = _mean([answer.stopped for answer in answers])
    metrics[f"{name}/perplexity"] = math.exp(min(-sum(surprise) / sum(map(len, references)), 700))
    return [
        {"text": a.text, "ids": a.ids, "stopped": a.stopped, "logprob": p}
        for a, p in zip(answers, logprobs, strict=True)
    ]


def _add_kl(
    baseline: Artifact,
    config: EvaluateConfig,
    context: StageContext,
    prompts: Sequence[Any],
    answered: Mapping[str, list[Row]],
    metrics: Metrics,
) -> None:
    from pipeline.modeling.answering import Answerer

    judge = Answerer(baseline, context, config.seed)
    for name, answers in answered.items():
        values = judge.logprobs(prompts, [answer["ids"] for answer in answers], config.decoding.batch_size)
        for answer, value in zip(answers, values, strict=True):
            answer["kl"] = answer.pop("logprob") - value
            answer["tokens"] = len(answer.pop("ids"))
        metrics[f"{name}/kl"] = 0.0 if name == config.baseline else _mean([answer["kl"] for answer in answers])


def _add_truth(baseline: str, prompts: Sequence[Any], answered: Mapping[str, list[Row]], metrics: Metrics) -> None:
    """The playground's true score of every answer, and win rates by it."""
    questions = [prompt[-1]["content"] for prompt in prompts]
    for name, answers in answered.items():
        for question, answer in zip(questions, answers, strict=True):
            answer["score"] = true_score(question, answer["text"], finished=answer["stopped"])
        metrics[f"{name}/true_score"] = _mean([answer["score"] for answer in answers])
        perfect = [is_perfect(q, a["text"], finished=a["stopped"]) for q, a in zip(questions, answers, strict=True)]
        metrics[f"{name}/perfect"] = _mean(perfect)
    against = [answer["score"] for answer in answered[baseline]]
    for name, answers in answered.items():
        if name != baseline:
            rate = win_rate([answer["score"] for answer in answers], against)
            metrics |= {
                f"{name}/win_rate": rate.value,
                f"{name}/win_rate_low": rate.low,
                f"{name}/win_rate_high": rate.high,
            }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(metrics: Mapping[str, float]) -> str:
    rates = {name.removesuffix("/win_rate"): value for name, value in metrics.items() if name.endswith("/win_rate")}
    shown = ", ".join(f"{name} {value:.2f}" for name, value in rates.items())
    return f"win rates: {shown}" if rates else f"{metrics['prompts']:,.0f} prompts, no scorer: see the report"


STAGE = Stage("evaluate", EvaluateConfig, inputs, run, summary)
