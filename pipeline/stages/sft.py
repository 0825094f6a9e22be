"""`sft`: supervised fine-tuning on the demonstrations, with the loss on the assistant's tokens only."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.nodes.models import SftConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import jsonl_rows
from pipeline.lengths.fitting import fitting_rows
from pipeline.lengths.limits import ANSWER_TOKENS, answer_tokens
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext, starting_model

if TYPE_CHECKING:
    from pipeline.modeling.chat.rendering import ChatFormat, Rendered


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"base": starting_model(config), "data": FromStage("data")}


def run(config: SftConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training, tuning
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.stored import stored_rows

    in_training = prepare_model(context.inputs["base"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.context_length

    def rendered(file: Path) -> "Iterator[Rendered]":
        _say_reasoning(chat, file, context)
        rows = jsonl_rows(file)
        kept = fitting_rows(rows, lambda row: chat.rows(row["messages"]), _longest, limit, file, context)
        return _flat(kept, file, context)

    files = (context.inputs["data"].file(name) for name in ("sft.jsonl", "dev.jsonl"))
    train, dev = (stored_rows(file.stem, tuning.LABELLED, context, partial(rendered, file)) for file in files)
    trainer = tuning.sft_trainer(in_training, train, dev, config, context)
    history = training.fine_tune(trainer, context, "sft", config)
    in_training.save(context)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": training.best_evaluation(history, config.keep_best)["eval_loss"],
        "rows": len(train),
        ANSWER_TOKENS: answer_tokens(row.mask for row in train),
        **in_training.size_metrics(),
        **training.training_cost(trainer),
    }


def _flat(conversations: "Iterable[Sequence[Rendered]]", file: Path, context: StageContext) -> "Iterator[Rendered]":
    """Yield the rows of all conversations; remark at the end if there are more rows than conversations."""
    count = total = 0
    for rows in conversations:
        count, total = count + 1, total + len(rows)
        yield from rows
    if total > count:
        context.say(
            f"{file.name}: {count:,} conversations become {total:,} rows of one answer each, since the chat template "
            "renders earlier answers in another way"
        )


def _longest(rows: "Sequence[Rendered]") -> int:
    return max(len(row.ids) for row in rows)


def _say_reasoning(chat: "ChatFormat", file: Path, context: StageContext) -> None:
    """Remark how reasoning in the demonstrations is handled, unless it is trained."""
    found = Counter(chat.has_reasoning(row["messages"]) for row in jsonl_rows(file))
    count = found[True]
    if count and chat.thinking != "train":
        emptied = "left out " + ("(model.thinking=empty)" if chat.renders_reasoning else "(the template has no place)")
        does = "kept and not learned" if chat.thinking == "keep" else emptied
        context.say(f"{file.name}: {count:,} of {found.total():,} conversations have reasoning, which is {does}")


def summary(metrics: Mapping[str, float]) -> str:
    return f"eval loss {metrics['eval_loss']:.2f}, {metrics['rows']:,.0f} rows"


ROWS = ModelRows("data", ("sft.jsonl",))
STAGE = Stage(
    "sft", SftConfig, inputs, run, summary, version=2, makes="policy", label="SFT",
    rows=ROWS, is_distributed=True, is_shared=True, trains_prefixes=True,
)  # fmt: skip
