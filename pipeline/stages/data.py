"""`data`: demonstrations and prompts, from the playground or from the user's files.

Writes `sft.jsonl` and `dev.jsonl` (demonstrations), `preference.jsonl` and `rl.jsonl` (prompts), and `test.jsonl`
(prompts with a reference answer). For the user's files, it also writes `report.html`, and `ledger.jsonl` with the
place and reason of every row that was left out.

The result does not depend on a model, so all models share one version. Rows that are too long for a model are left
out when it is trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipeline.config.schema import DataConfig, PipelineConfig
from pipeline.data.rows import Demonstration, opening, write_jsonl
from pipeline.data.splits import split_by_prompt
from pipeline.playground import texts
from pipeline.stage import Metrics, Reference, Stage, StageContext
from pipeline.stages import own_files

Splits = dict[str, Sequence[Mapping[str, Any]]]


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.data.source == "playground":
        return {}
    return own_files.references(config.data)


def run(config: DataConfig, context: StageContext) -> Metrics:
    if config.source == "files":
        return own_files.prepare(config, context)
    splits = playground(config)
    for name, rows in splits.items():
        write_jsonl(context.output_dir / f"{name}.jsonl", rows)
    made = float(len(splits["sft"]) + len(splits["dev"]))
    counts = {"read": made, "kept": made, "dropped": 0.0, "duplicates": 0.0}
    return {**counts, **{name: float(len(rows)) for name, rows in splits.items()}}


def playground(config: DataConfig) -> Splits:
    """Return the playground's splits. Its test prompts are about combinations that occur in no other split."""
    world, seed = config.world, config.seed
    total = world.demonstrations + world.dev
    rows = cast(list[Demonstration], list(texts.demonstrations(total, seed=seed, world_seed=seed)))
    parts = split_by_prompt(rows, {"sft": world.demonstrations / total, "dev": world.dev / total}, seed)
    test = cast(list[Demonstration], list(texts.test_demonstrations(world.test_prompts, seed=seed, world_seed=seed)))
    sampling = texts.sampling_prompts(world.preference_prompts, seed=seed, world_seed=seed)
    rl = texts.rl_prompts(world.rl_prompts, seed=seed, world_seed=seed)
    return {
        **parts,
        "preference": [_prompt(text) for text in sampling],
        "rl": [_prompt(text) for text in rl],
        "test": [{"prompt": opening(row["messages"]), "reference": row["messages"][-1]["content"]} for row in test],
    }


def _prompt(text: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": text}]}


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['kept']:,.0f} of {metrics['read']:,.0f} rows kept, {metrics['test']:,.0f} test prompts"


STAGE = Stage("data", DataConfig, inputs, run, summary, version=3, quick=True, is_shared=True)
