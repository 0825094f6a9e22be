"""`shard`: one of several shards of the user's files, read and cleaned apart, for example on machines of a cluster.

`data` with the same `data.shards` merges all shards of a request. Its version and its rows are those of one run over
all files, because everything that compares rows is done in the merge.
"""

import shutil
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipeline.config.nodes.demonstrations import ReadingConfig, ShardConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.ledger import STEPS, Ledger
from pipeline.data.pipeline import gather, spans_of_shard
from pipeline.data.scratch import Scratch
from pipeline.data.shards import LEDGER, ROWS, write_shard
from pipeline.data.writing import line_writer
from pipeline.stage import Metrics, Reference, Stage, StageContext
from pipeline.stages.reading import VERSION, say_encodings, settings_of, source_references, sources_of, tokens_of


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {} if config.data.source == "playground" else source_references(config.shard)


def all_shards(config: PipelineConfig) -> dict[str, tuple[str, Any]]:
    """Map a role to (stage, configuration) for each shard that `data` merges; empty if it reads the files itself."""
    data = config.data
    if data.shards == 1:
        return {}
    same = {item.name: getattr(data, item.name) for item in fields(ReadingConfig)}
    return {
        f"{STAGE.name}:{number}": (STAGE.name, ShardConfig(**same, number=number, shards=data.shards))
        for number in range(1, data.shards + 1)
    }


def run(config: ShardConfig, context: StageContext) -> Metrics:
    sources, (measure, specials) = sources_of(config, context), tokens_of(context)
    spans = spans_of_shard(sources, config.number, config.shards)
    say_encodings([span.file for several in spans for span in several if span.is_whole], context.say)
    folder = context.output_dir / ROWS
    shutil.rmtree(folder, ignore_errors=True)
    with line_writer(context.output_dir / LEDGER) as write:
        ledger = Ledger(lambda entry: write(entry.as_line()))
        with Scratch(folder) as scratch, context.progress("reading", None) as advance:
            gathered = gather(sources, settings_of(config, context, specials), scratch, ledger, measure, advance, spans)
    write_shard(gathered, context.output_dir)
    left_out = {f"dropped/{step}": float(ledger.at(step)) for step in STEPS if ledger.at(step)}
    counts = {"read": ledger.read, "kept": ledger.kept, "dropped": ledger.dropped}
    return {"number": config.number, "shards": config.shards, **counts, **left_out}


def summary(metrics: Mapping[str, float]) -> str:
    place = f"shard {metrics['number']:.0f} of {metrics['shards']:.0f}"
    return f"{place}: {metrics['kept']:,.0f} of {metrics['read']:,.0f} rows to compare"


STAGE = Stage("shard", ShardConfig, inputs, run, summary, version=VERSION, quick=True, is_side_branch=True)
