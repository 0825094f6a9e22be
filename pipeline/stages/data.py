"""`data`: demonstrations and prompts, from the playground or from the user's own files, split by prompt.

Leaves `sft.jsonl` and `dev.jsonl` (demonstrations), `preference.jsonl` and `rl.jsonl` (prompts), `test.jsonl` (prompts
with a reference answer), and `ledger.jsonl` with every row that was left out, where it stood and why.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pipeline.artifacts import sources
from pipeline.config import DataConfig, PipelineConfig
from pipeline.data.ledger import Ledger, OnBadRow
from pipeline.data.loading import load_demonstrations
from pipeline.data.rows import Demonstration, Message, prompt_id, write_jsonl
from pipeline.data.splits import split_by_prompt
from pipeline.errors import RequestError
from pipeline.playground import texts
from pipeline.stage import FromFiles, Metrics, Reference, Stage, StageContext, starting_model

Splits = dict[str, Sequence[Mapping[str, Any]]]


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.data.source == "playground":
        return {}
    return {"base": starting_model(config), "files": FromFiles("files", config.data.path)}


def run(config: DataConfig, context: StageContext) -> Metrics:
    splits, ledger = playground(config) if config.source == "playground" else from_files(config, context)
    for name, rows in splits.items():
        write_jsonl(context.output_dir / f"{name}.jsonl", rows)
    ledger.write(context.output_dir / "ledger.jsonl")
    counts = {"read": ledger.read, "kept": ledger.kept, "dropped": ledger.dropped, "duplicates": ledger.duplicates}
    return {**counts, **{name: float(len(rows)) for name, rows in splits.items()}}


def playground(config: DataConfig) -> tuple[Splits, Ledger]:
    """The embedded world's own splits; its test prompts are about combinations that occur nowhere else."""
    world, seed = config.world, config.seed
    total = world.demonstrations + world.dev
    rows = cast(list[Demonstration], list(texts.demonstrations(total, seed=seed, world_seed=seed)))
    parts = split_by_prompt(rows, {"sft": world.demonstrations / total, "dev": world.dev / total}, seed)
    test = texts.test_demonstrations(world.test_prompts, seed=seed, world_seed=seed)
    sampling = texts.sampling_prompts(world.preference_prompts, seed=seed, world_seed=seed)
    rl = texts.rl_prompts(world.rl_prompts, seed=seed, world_seed=seed)
    splits: Splits = {
        **parts,
        "preference": [_prompt(text) for text in sampling],
        "rl": [_prompt(text) for text in rl],
        "test": [_with_reference(cast(Demonstration, row)["messages"]) for row in test],
    }
    return splits, Ledger(read=total)


def _prompt(text: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": text}]}


def from_files(config: DataConfig, context: StageContext) -> tuple[Splits, Ledger]:
    """The user's files: read, cleaned of duplicates and of what is too long for the model, split by prompt."""
    files = sources(context.inputs["files"])
    on_bad_row = cast(OnBadRow, config.on_bad_row)
    unfit = _too_long(config, context)
    rows, ledger, found = load_demonstrations(files, config.format, on_bad_row, config.max_bad_fraction, unfit)
    context.say(f"format {found}: {ledger.read:,} rows read, {ledger.kept:,} kept")
    for reason, count in ledger.reasons().items():
        context.say(f"left out, {count:,} times: {reason} (each row is in ledger.jsonl)")
    if not rows:
        raise RequestError(f"{files[0]}: no row is left after cleaning: {ledger.reasons()}.")
    shares = {name: getattr(config.split, name) for name in ("dev", "test", "preference", "rl")}
    parts = split_by_prompt(rows, {"sft": 1 - sum(shares.values()), **shares}, config.seed)
    splits: Splits = {"sft": parts["sft"], "dev": parts["dev"] or parts["sft"][:1]}
    for name in ("preference", "rl"):
        splits[name] = _prompts(parts[name] or parts["sft"])
    return {**splits, "test": [_with_reference(row["messages"]) for row in parts["test"]]}, ledger


def _too_long(config: DataConfig, context: StageContext) -> Callable[[Demonstration], str | None]:
    """Whether a conversation has more tokens than the model's context, or than `data.max_length`."""
    from pipeline.modeling import policy
    from pipeline.modeling.rendering import ChatFormat

    source = policy.source_of(context.inputs["base"])
    tokenizer, remarks = policy.tokenizer_of(source)
    for remark in remarks:
        context.say(remark)
    chat, room = ChatFormat(tokenizer), policy.context_in_config(source)
    limit = min(config.max_length or room, room)

    def unfit(row: Demonstration) -> str | None:
        tokens = len(chat.conversation(row["messages"]).ids)
        return f"longer than {limit} tokens" if tokens > limit else None

    return unfit


def _prompts(rows: Sequence[Demonstration]) -> list[dict[str, Any]]:
    """The first prompt of each conversation, each once."""
    prompts = (_with_reference(row["messages"])["prompt"] for row in rows)
    return [{"prompt": prompt} for prompt in {prompt_id(p): p for p in prompts}.values()]


def _with_reference(messages: Sequence[Message]) -> dict[str, Any]:
    """A conversation as its first prompt, and the answer that was given to it."""
    first = [turn["role"] for turn in messages].index("assistant")
    return {"prompt": list(messages[:first]), "reference": messages[first]["content"]}


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['kept']:,.0f} of {metrics['read']:,.0f} rows kept, {metrics['test']:,.0f} test prompts"


STAGE = Stage("data", DataConfig, inputs, run, summary)
