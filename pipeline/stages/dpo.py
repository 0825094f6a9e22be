"""`dpo`: direct preference optimization (arXiv 2305.18290) from the SFT policy, with that policy as the reference."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import DpoConfig, PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext
from pipeline.stages.lengths import fitting


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: DpoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import policy, training, tuning
    from pipeline.modeling.rendering import ChatFormat
    from pipeline.modeling.scoring import Answered

    training.set_up(context.runtime, config.seed)
    source = policy.source_of(context.inputs["policy"])
    device = policy.device_of(context.runtime.launch)
    tokenizer, remarks = policy.tokenizer_of(source)
    for remark in remarks:
        context.say(remark)
    model = policy.load_for_training(source, tokenizer, device, config.peft, config.seed)
    chat, limit = ChatFormat(tokenizer), min(config.max_length or policy.context_of(model), policy.context_of(model))

    def answered(row: Mapping[str, Any], side: str) -> Answered:
        return Answered(chat.prompt(row["prompt"]), chat.answer(row["prompt"], row[side][0]["content"]))

    def pairs(name: str) -> list[tuple[Answered, Answered]]:
        file = context.inputs["preferences"].file(name)
        rows = [(answered(row, "chosen"), answered(row, "rejected")) for row in read_jsonl(file)]
        lengths = [max(len(side.prompt) + len(side.answer) for side in pair) for pair in rows]
        return fitting(rows, lengths, limit, file, context)

    train, test = pairs("train.jsonl"), pairs("test.jsonl")
    trainer = tuning.dpo_trainer(model, tokenizer, train, test, config, context, device)
    history = training.train(trainer, context, "dpo", config.evaluations)
    training.remark_on_overfitting(history, config, context)
    policy.save_policy(model, tokenizer, context.output_dir / policy.MODEL, source)
    kept = training.best_evaluation(history, config.keep_best)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": kept["eval_loss"],
        "accuracy": kept["eval_rewards/accuracies"],
        "margin": kept["eval_rewards/margins"],
        "pairs": len(train),
        **policy.size_metrics(model),
    }


def summary(metrics: Mapping[str, float]) -> str:
    return f"accuracy {metrics['accuracy']:.2f}, margin {metrics['margin']:.2f}, {metrics['pairs']:,.0f} pairs"


STAGE = Stage("dpo", DpoConfig, inputs, run, summary)
