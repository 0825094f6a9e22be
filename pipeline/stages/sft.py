"""`sft`: supervised fine-tuning on the demonstrations, with the loss on the assistant's tokens only."""

from collections.abc import Mapping

from pipeline.config import PipelineConfig, SftConfig
from pipeline.data.rows import read_jsonl
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext, starting_model
from pipeline.stages.lengths import fitting


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"base": starting_model(config), "data": FromStage("data")}


def run(config: SftConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training, tuning
    from pipeline.modeling.rendering import Rendered
    from pipeline.modeling.trainee import prepare

    trainee = prepare(context.inputs["base"], config.peft, config.seed, context)
    chat, limit = trainee.chat, trainee.room

    def rendered(name: str) -> list[Rendered]:
        file = context.inputs["data"].file(name)
        rows = [chat.conversation(row["messages"]) for row in read_jsonl(file)]
        return fitting(rows, [len(row.ids) for row in rows], limit, file, context)

    train, dev = rendered("sft.jsonl"), rendered("dev.jsonl")
    trainer = tuning.sft_trainer(trainee, train, dev, config, context)
    history = training.train(trainer, context, "sft", config.evaluations)
    training.remark_on_overfitting(history, config, context)
    trainee.save(context)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": training.best_evaluation(history, config.keep_best)["eval_loss"],
        "rows": len(train),
        **trainee.size(),
        **training.cost(trainer),
    }


def summary(metrics: Mapping[str, float]) -> str:
    return f"eval loss {metrics['eval_loss']:.2f}, {metrics['rows']:,.0f} rows"


STAGE = Stage("sft", SftConfig, inputs, run, summary)
