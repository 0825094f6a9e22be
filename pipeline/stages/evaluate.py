"""`evaluate`: compares policies on prompts that none of them was trained on, all with the same decoding.

One base model is in memory at a time, with the adapters of all policies on it. KL to the baseline is estimated on each
policy's own answers, as the mean over answers of log p(answer) - log p_baseline(answer), summed over tokens (the k1
estimate, in nats per answer).

Wins are decided by the true score if it is known (on the playground), else by the independent judge: a reward model
trained on separate prompts that no policy was trained on. The reward that PPO was trained on is only reported.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pipeline.config.nodes.evaluation import EvaluateConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import prompt_id, read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.best_of import best_places, kl_bound, name_of
from pipeline.evaluation.winrates import win_rate
from pipeline.gates.check import check_judge
from pipeline.lengths.fitting import answerable_rows
from pipeline.lengths.limits import with_limit
from pipeline.playground.scorer import is_perfect, true_score
from pipeline.playground.world import parse
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext, policy
from pipeline.stages.ppo import inputs as ppo_inputs
from pipeline.store.artifact import Artifact

if TYPE_CHECKING:
    from pipeline.modeling.answering import Answer

Row = dict[str, Any]
SCORERS = {"reward": "reward", "judge": "judge_reward"}  # input -> name of its scores


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    """Return the policies and the prompts; the judge if it is used; PPO's reward model for it and for the best of n."""
    policies, baseline = config.evaluate.policies, config.evaluate.baseline
    if baseline not in policies:
        raise RequestError(f"evaluate.baseline={baseline} is not among evaluate.policies={policies}.")
    wanted: dict[str, Reference] = {name: policy(config, name) for name in policies}
    wanted["data"] = FromStage("data")
    if "ppo" in policies or config.evaluate.best_of:
        wanted |= {role: given for role, given in ppo_inputs(config).items() if role == "reward"}
    if config.evaluate.best_of and "reward" not in wanted:
        raise RequestError("evaluate.best_of: the best answer is chosen by a reward model, and ppo.rewards names none.")
    if _judged(config):
        wanted["judge"] = FromStage("judge")
    return wanted


def _judged(config: PipelineConfig) -> bool:
    """Whether to use a judge: as configured, else if there are a PPO policy and pairs reserved for the judge."""
    if config.evaluate.judge is not None:
        return config.evaluate.judge
    with_ppo = any(name.partition("@")[0] == "ppo" for name in config.evaluate.policies)
    return with_ppo and config.preferences.judge_fraction > 0


def run(config: EvaluateConfig, context: StageContext) -> Metrics:
    from pipeline.modeling.rewards.scoring import check_prompts

    file = context.inputs["data"].file("test.jsonl")
    given: list[Row] = read_jsonl(file)
    if not given:
        raise RequestError("There are no test prompts: set data.split.test above 0.")
    policies = [context.inputs[name] for name in config.policies]
    decoding, limit = with_limit(config.decoding, policies, context.say)
    rows = answerable_rows(given, policies, limit, file, context, most=config.prompts)
    prompts = [row["prompt"] for row in rows]
    config = replace(config, decoding=decoding)
    metrics: Metrics = {"prompts": len(rows), "max_new_tokens": limit}
    known = all(parse(prompt[-1]["content"]) for prompt in prompts)  # prompts of the playground: the true score decides
    judge = None if known else context.inputs.get("judge")
    if judge:
        metrics |= check_judge(context, judge)
    for role in (*config.policies, *SCORERS):
        if role in context.inputs:
            check_prompts(context.inputs[role], prompts)
    answered = _answered(config, context, rows, metrics)
    answered |= _best_of(config, context, prompts, metrics)
    for role, key in SCORERS.items():
        if role in context.inputs:
            _add_rewards(key, context.inputs[role], context, prompts, answered, metrics)
    if known:
        _add_truth(prompts, answered, metrics)
        metrics |= _win_rates("score", config.baseline, answered)
    elif judge:
        metrics |= _win_rates("judge_reward", config.baseline, answered)
    for answers in answered.values():
        for answer in answers:
            answer["tokens"] = len(answer.pop("ids"))
    written = [
        {"id": prompt_id(row["prompt"]), **row, "answers": {name: answers[i] for name, answers in answered.items()}}
        for i, row in enumerate(rows)
    ]
    if context.is_main:
        write_jsonl(context.output_dir / "answers.jsonl", written)
    return metrics


def _answered(
    config: EvaluateConfig, context: StageContext, rows: Sequence[Mapping[str, Any]], metrics: Metrics
) -> dict[str, list[Row]]:
    """Return every policy's answers with their KL to the baseline, and add each policy's metrics to `metrics`.

    The baseline comes last, so that it is loaded only once: it also computes log-probabilities of all other answers.
    """
    from pipeline.modeling.served import load_answerers

    prompts = [row["prompt"] for row in rows]
    answered: dict[str, list[Row]] = {name: [] for name in config.policies}
    policies = {name: context.inputs[name] for name in config.policies}
    answerers = load_answerers(policies, context, config.seed, last=config.baseline, drawn_by=config.drawn_by)
    for name, answerer in answerers:
        answers = answerer.draw(prompts, config.decoding, f"evaluate {name}")
        logprobs = answerer.logprobs(prompts, [answer.ids for answer in answers])
        references = [answerer.chat.answer(row["prompt"], row["reference"]) for row in rows]
        surprise = answerer.logprobs(prompts, references)
        metrics |= _endings(name, answers)
        metrics[f"{name}/perplexity"] = math.exp(min(-sum(surprise) / sum(map(len, references)), 700))
        answered[name] = [
            {"text": a.text, "ids": a.ids, "stopped": a.stopped, "kl": p}
            for a, p in zip(answers, logprobs, strict=True)
        ]
    for name, own in answered.items():  # `answerer` is the baseline's
        below = answerer.logprobs(prompts, [answer["ids"] for answer in own])
        for answer, value in zip(own, below, strict=True):
            answer["kl"] -= value
        metrics[f"{name}/kl"] = 0.0 if name == config.baseline else _mean([answer["kl"] for answer in own])
    return answered


def _best_of(
    config: EvaluateConfig, context: StageContext, prompts: Sequence[Any], metrics: Metrics
) -> dict[str, list[Row]]:
    """Return the best of n answers of the baseline, by the reward model, for each n of `evaluate.best_of`.

    Of the largest n answers to a prompt, a smaller n has the first ones.
    """
    from pipeline.modeling.rewards.scoring import RewardModel
    from pipeline.modeling.served import answerer_of

    if not config.best_of:
        return {}
    most = max(config.best_of)
    repeated = [prompt for prompt in prompts for _ in range(most)]
    baseline = config.baseline
    answerer = answerer_of(baseline, context.inputs[baseline], context, config.seed, config.drawn_by)
    drawn = answerer.draw(repeated, config.decoding, f"evaluate best of {most}")
    del answerer  # one model in memory at a time
    scores = RewardModel(context.inputs["reward"], context).score(repeated, drawn)
    answered = {}
    for count in config.best_of:
        name, kept = name_of(count), [drawn[place] for place in best_places(scores, count, most)]
        metrics |= _endings(name, kept)
        metrics[f"{name}/kl"] = kl_bound(count)
        answered[name] = [{"text": answer.text, "ids": answer.ids, "stopped": answer.stopped} for answer in kept]
    return answered


def _endings(name: str, answers: Sequence["Answer"]) -> Metrics:
    """Return how long a policy's answers are, in tokens, and how many of them end by themselves."""
    return {
        f"{name}/length": _mean([len(answer.ids) for answer in answers]),
        f"{name}/stopped": _mean([answer.stopped for answer in answers]),
    }


def _add_rewards(
    key: str,
    scorer: Artifact,
    context: StageContext,
    prompts: Sequence[Any],
    answered: Mapping[str, list[Row]],
    metrics: Metrics,
) -> None:
    """Add a reward model's score to every answer, and the mean per policy to `metrics`."""
    from pipeline.modeling.answering import Answer
    from pipeline.modeling.rewards.scoring import RewardModel

    model = RewardModel(scorer, context)
    for name, answers in answered.items():
        given = [Answer(answer["text"], answer["ids"], answer["stopped"]) for answer in answers]
        scores = model.score(prompts, given)
        for answer, score in zip(answers, scores, strict=True):
            answer[key] = score
        metrics[f"{name}/{key}"] = _mean(scores)


def _add_truth(prompts: Sequence[Any], answered: Mapping[str, list[Row]], metrics: Metrics) -> None:
    """Add the playground's true score to every answer, and the means per policy to `metrics`."""
    questions = [prompt[-1]["content"] for prompt in prompts]
    for name, answers in answered.items():
        for question, answer in zip(questions, answers, strict=True):
            answer["score"] = true_score(question, answer["text"], finished=answer["stopped"])
        metrics[f"{name}/true_score"] = _mean([answer["score"] for answer in answers])
        perfect = [is_perfect(q, a["text"], finished=a["stopped"]) for q, a in zip(questions, answers, strict=True)]
        metrics[f"{name}/perfect"] = _mean(perfect)


def _win_rates(key: str, baseline: str, answered: Mapping[str, list[Row]]) -> Metrics:
    """Return win rates by `key` against the baseline, and of each other policy against the ones before it.

    Names of the latter have the form `ppo/against/dpo/win_rate`.
    """
    scores = {name: [answer[key] for answer in answers] for name, answers in answered.items()}
    others = [name for name in scores if name != baseline]
    rates = {name: win_rate(scores[name], scores[baseline]) for name in others}
    rates |= {f"{b}/against/{a}": win_rate(scores[b], scores[a]) for a, b in combinations(others, 2)}
    named = {"win_rate": "value", "win_rate_low": "low", "win_rate_high": "high"}
    return {f"{name}/{key}": getattr(rate, part) for name, rate in rates.items() for key, part in named.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(metrics: Mapping[str, float]) -> str:
    rates = {name.removesuffix("/win_rate"): value for name, value in metrics.items() if name.endswith("/win_rate")}
    rates = {name: value for name, value in rates.items() if "/against/" not in name}
    shown = ", ".join(f"{name} {value:.2f}" for name, value in rates.items())
    return f"win rates: {shown}" if rates else f"{metrics['prompts']:,.0f} prompts, no scorer: see the report"


ROWS = ModelRows("data", ("test.jsonl",))
STAGE = Stage(
    "evaluate", EvaluateConfig, inputs, run, summary, version=4,
    rows=ROWS, is_distributed=True, compares_policies=True,
)  # fmt: skip
