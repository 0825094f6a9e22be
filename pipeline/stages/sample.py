"""`sample`: several answers to each prompt, for people to rank. Of many prompts, it chooses representative ones."""

from collections.abc import Mapping
from typing import Any

from pipeline.config.schema import PipelineConfig, SampleConfig
from pipeline.data.prompts.selection import choose_prompts
from pipeline.data.rows import prompt_id, read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.lengths.fitting import answerable_rows
from pipeline.lengths.limits import with_limit
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext, policy


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"data": FromStage("data"), **{name: policy(config, name) for name in config.sample.policies}}


def run(config: SampleConfig, context: StageContext) -> Metrics:
    from pipeline.modeling.answering import Answerer

    policies = [context.inputs[name] for name in config.policies]
    decoding, limit = with_limit(config.decoding, policies, context.say)
    file = context.inputs["data"].file("preference.jsonl")
    prompts = [row["prompt"] for row in answerable_rows(read_jsonl(file), policies, limit, file, context)]
    if config.prompts and config.prompts < len(prompts):
        prompts = [prompts[index] for index in choose_prompts(prompts, config.prompts, config.seed)]
    rows: list[dict[str, Any]] = [{"id": prompt_id(p), "prompt": p, "answers": []} for p in prompts]
    stopped = 0
    for number, name in enumerate(config.policies):
        share = len(range(number, config.answers, len(config.policies)))  # answers per prompt by this policy
        answerer = Answerer(context.inputs[name], context, config.seed + number)
        drawn = answerer.draw([p for p in prompts for _ in range(share)], decoding, f"sample {name}")
        for i, answer in enumerate(drawn):
            rows[i // share]["answers"].append({"text": answer.text, "policy": name})
            stopped += answer.stopped
    total = len(prompts) * config.answers
    distinct = [{**row, "answers": _distinct(row["answers"])} for row in rows]
    usable = [row for row in distinct if len(row["answers"]) > 1]
    if not usable:
        raise RequestError("No prompt got two different answers: raise sample.decoding.temperature or sample.answers.")
    if len(usable) < len(rows):
        context.say(f"{len(rows) - len(usable)} prompts whose answers were all the same are left out: nothing to rank")
    if context.is_main:
        write_jsonl(context.output_dir / "answers.jsonl", usable)
    return {
        "prompts": len(usable),
        "answers": sum(len(row["answers"]) for row in usable),
        "distinct": sum(len(row["answers"]) for row in distinct) / total,
        "stopped": stopped / total,
        "max_new_tokens": limit,
    }


def _distinct(answers: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the first of each group of answers with equal words (white space is ignored)."""
    return list({" ".join(answer["text"].split()): answer for answer in reversed(answers)}.values())[::-1]


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['answers']:,.0f} answers to {metrics['prompts']:,.0f} prompts, {metrics['distinct']:.0%} distinct"


ROWS = ModelRows("data", ("preference.jsonl",))
STAGE = Stage("sample", SampleConfig, inputs, run, summary, version=4, rows=ROWS, is_distributed=True)
