"""`sft`: supervised fine-tuning on the demonstrations, with the loss on the assistant's tokens only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.nodes.models import SftConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl
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

    in_training = prepare_model(context.inputs["base"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.context_length

    def rendered(name: str) -> "list[Rendered]":
        file = context.inputs["data"].file(name)
        rows = read_jsonl(file)
        _say_reasoning(chat, rows, file, context)
        kept = fitting_rows(rows, lambda row: chat.rows(row["messages"]), _longest, limit, file, context)
        flat = [row for several in kept for row in several]
        if len(flat) > len(kept):
            context.say(
                f"{file.name}: {len(kept):,} conversations become {len(flat):,} rows of one answer each, since the "
                "chat template renders earlier answers in another way"
            )
        return flat

    train, dev = rendered("sft.jsonl"), rendered("dev.jsonl")
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


def _longest(rows: "Sequence[Rendered]") -> int:
    return max(len(row.ids) for row in rows)


def _say_reasoning(chat: "ChatFormat", rows: Sequence[Mapping[str, Any]], file: Path, context: StageContext) -> None:
    """Remark how reasoning in the demonstrations is handled, unless it is trained."""
    count = sum(chat.has_reasoning(row["messages"]) for row in rows)
    if count and chat.thinking != "train":
        emptied = "left out " + ("(model.thinking=empty)" if chat.renders_reasoning else "(the template has no place)")
        does = "kept and not learned" if chat.thinking == "keep" else emptied
        context.say(f"{file.name}: {count:,} of {len(rows):,} conversations have reasoning, which is {does}")


def summary(metrics: Mapping[str, float]) -> str:
    return f"eval loss {metrics['eval_loss']:.2f}, {metrics['rows']:,.0f} rows"


ROWS = ModelRows("data", ("sft.jsonl",))
STAGE = Stage(
    "sft", SftConfig, inputs, run, summary, version=2, makes="policy", label="SFT",
    rows=ROWS, is_distributed=True, is_shared=True, trains_prefixes=True,
)  # fmt: skip
