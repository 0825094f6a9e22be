"""`publish`: tasks for the annotators, with each answer in a shuffled slot and the map of slots kept apart."""

import json
from collections.abc import Mapping

from labeling.records import make_tasks
from pipeline.config import PipelineConfig, PublishConfig
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.files import write_atomically
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"sample": FromStage("sample")}


def run(config: PublishConfig, context: StageContext) -> Metrics:
    samples = read_jsonl(context.inputs["sample"].file("answers.jsonl"))
    tasks, slots = make_tasks(samples, config.seed)  # type: ignore[arg-type]
    write_jsonl(context.output_dir / "tasks.jsonl", tasks)
    write_atomically(context.output_dir / "slots.json", json.dumps(slots))
    return {"tasks": len(tasks)}


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['tasks']:,.0f} prompts to rank"


STAGE = Stage("publish", PublishConfig, inputs, run, summary)
