"""`draft`: answers by a larger model, to given prompts and to new prompts that it makes up after their example.

Writes `prompts.jsonl` (all answered prompts, one per line), `drafts.jsonl` (usable drafts, each with its writer) and
`ledger.jsonl` (unusable drafts, by their lines in `prompts.jsonl`, and rows of the given files without a usable
prompt). No draft is used for training before it passes `synthesize`.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config.fields import is_endpoint
from pipeline.config.nodes.demonstrations import DraftConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.cleaning.cleaner import Cleaner
from pipeline.data.ledger import Ledger
from pipeline.data.prompts.loading import load_prompts
from pipeline.data.prompts.selection import choose_prompts
from pipeline.data.rows import Message, write_jsonl
from pipeline.data.synthetic.drafts import usable_drafts
from pipeline.data.synthetic.self_instruct import REQUESTED, PromptPool, prompts_in
from pipeline.errors import RequestError
from pipeline.playground import texts
from pipeline.stage import FromFiles, Metrics, Reference, Stage, StageContext, policy
from pipeline.stages.writers import PolicyWriter, RemoteWriter, Writer

ROUNDS = 5  # most rounds of making up prompts
PROMPTS = "prompts.jsonl"
RULES = {"refusals": "drop"}  # the defaults for demonstrations, but refusals are left out


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    draft = config.draft
    if not draft.prompts and config.data.source != "playground":
        raise RequestError(
            "Answers to which prompts? Name files of prompts or of demonstrations: draft.prompts=FILE. "
            "Only the playground has prompts of its own."
        )
    writer = {} if is_endpoint(draft.writer) else {"writer": policy(config, draft.writer)}
    return {**writer, **({"prompts": FromFiles("prompts", draft.prompts)} if draft.prompts else {})}


def run(config: DraftConfig, context: StageContext) -> Metrics:
    given, unusable = _given(config, context)
    writer = _writer(config, context)
    made_up = _new_prompts(given, config, writer, context)
    prompts = [*given, *made_up]
    write_jsonl(context.output_dir / PROMPTS, ({"prompt": prompt} for prompt in prompts))
    written = writer.write([_with_system_prompt(prompt, config.system) for prompt in prompts], "draft")
    drafts, ledger = usable_drafts(prompts, written, writer.name, Cleaner(RULES), Path(PROMPTS))
    for reason, count in ledger.reasons().items():
        context.say(f"left out, {count:,} times: {reason} (each is in ledger.jsonl)")
    if not drafts:
        raise RequestError(f"{writer.name} wrote {len(written)} drafts, and none can be used: {ledger.reasons()}.")
    write_jsonl(context.output_dir / "drafts.jsonl", drafts)
    write_jsonl(context.output_dir / "ledger.jsonl", (one.as_row() for one in (*unusable.entries, *ledger.entries)))
    return {
        "read": ledger.read,
        "kept": ledger.kept,
        "dropped": ledger.dropped,
        "made_up": len(made_up),
        "stopped": sum(answer.stopped for answer in written) / len(written),
        "prompt_rows": unusable.read,
        "prompt_rows_dropped": unusable.dropped,
    }


def _given(config: DraftConfig, context: StageContext) -> tuple[list[list[Message]], Ledger]:
    """Return the prompts to answer, and the ledger of rows without a usable prompt."""
    if "prompts" in context.inputs:
        prompts, ledger = load_prompts(context.inputs["prompts"].external_files)
    else:
        own = texts.sampling_prompts(config.count, seed=config.world_seed, world_seed=config.world_seed)
        prompts, ledger = [[Message(role="user", content=text)] for text in own], Ledger()
        ledger.count_read(len(own))
    for reason, count in ledger.reasons().items():
        context.say(f"rows without a usable prompt, {count:,} times: {reason} (each is in ledger.jsonl)")
    return [prompts[index] for index in choose_prompts(prompts, config.count, config.seed)], ledger


def _new_prompts(
    given: Sequence[list[Message]], config: DraftConfig, writer: Writer, context: StageContext
) -> list[list[Message]]:
    """Return new prompts: `config.generate`, or fewer if the writer does not find as many in `ROUNDS` rounds."""
    prompt_pool = PromptPool([prompt[-1]["content"] for prompt in given])
    for number in range(ROUNDS):
        missing = config.generate - len(prompt_pool.made_up)
        if missing <= 0:
            break
        draw = random.Random(f"{config.seed} {number}")
        asks = [prompt_pool.request(draw) for _ in range(-(-missing // REQUESTED))]
        written = writer.write([[Message(role="user", content=ask)] for ask in asks], f"prompts {number}")
        for text in (text for answer in written for text in prompts_in(answer.text, whole=answer.stopped)):
            if len(prompt_pool.made_up) < config.generate:
                prompt_pool.add_if_new(text)
    if len(prompt_pool.made_up) < config.generate:
        context.say(f"{writer.name} made up {len(prompt_pool.made_up):,} of {config.generate:,} new prompts")
    return [[Message(role="user", content=text)] for text in prompt_pool.made_up]


def _with_system_prompt(prompt: list[Message], system: str | None) -> list[Message]:
    """Return a prompt with the configured system prompt before the prompt's own system turn."""
    if not system:
        return prompt
    own = prompt[0]["content"] if prompt[0]["role"] == "system" else ""
    told = Message(role="system", content="\n\n".join(filter(None, (system, own))))
    return [told, *prompt[bool(own) :]]


def _writer(config: DraftConfig, context: StageContext) -> Writer:
    if "writer" in context.inputs:
        return PolicyWriter(
            context.inputs["writer"],
            config.decoding,
            config.seed,
            context,
            policy=config.writer,
            drawn_by=config.drawn_by,
        )
    assert config.model is not None
    return RemoteWriter(config.writer, config.model, config.decoding, config.seed, config.concurrency, context)


def summary(metrics: Mapping[str, float]) -> str:
    made_up = f", {metrics['made_up']:,.0f} of them made up" if metrics.get("made_up") else ""
    return f"{metrics['kept']:,.0f} drafts to {metrics['read']:,.0f} prompts{made_up}"


STAGE = Stage("draft", DraftConfig, inputs, run, summary, version=2, keeps_human_work=True, is_side_branch=True)
