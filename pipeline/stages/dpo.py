"""`dpo`: direct preference optimization (arXiv 2305.18290), from the SFT policy, which is also the reference."""

from collections.abc import Mapping
from typing import Any

from pipeline.config.schema import DpoConfig, PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.gates.check import check_gates
from pipeline.gates.rules import gate_metrics
from pipeline.lengths.fitting import fitting
from pipeline.stage import FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: DpoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training, tuning
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.scoring import AnsweredPrompt

    verdicts = check_gates(context, "dpo")
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.row_limit(config.max_length)

    def pair(row: Mapping[str, Any]) -> tuple[AnsweredPrompt, AnsweredPrompt]:
        prompt = chat.prompt(row["prompt"])
        chosen, rejected = (chat.answer(row["prompt"], row[side][0]["content"]) for side in ("chosen", "rejected"))
        return AnsweredPrompt(prompt, chosen), AnsweredPrompt(prompt, rejected)

    def longer(sides: tuple[AnsweredPrompt, AnsweredPrompt]) -> int:
        return max(len(side.prompt) + len(side.answer) for side in sides)

    def pairs(name: str) -> list[tuple[AnsweredPrompt, AnsweredPrompt]]:
        file = context.inputs["preferences"].file(name)
        rows = read_jsonl(file)
        if not rows:
            raise RequestError(f"{file}: no pairs to learn from.")
        return fitting(rows, pair, longer, limit, file, context)

    train, test = pairs("train.jsonl"), pairs("test.jsonl")
    trainer = tuning.dpo_trainer(in_training, train, test, config, context)
    history = training.fine_tune(trainer, context, "dpo", config)
    in_training.save(context)
    kept = training.best_evaluation(history, config.keep_best)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": kept["eval_loss"],
        "accuracy": kept["eval_accuracy"],
        "margin": kept["eval_margin"],
        "pairs": len(train),
        **in_training.size_metrics(),
        **training.training_cost(trainer),
        **gate_metrics(verdicts),
    }


def summary(metrics: Mapping[str, float]) -> str:
    return f"accuracy {metrics['accuracy']:.2f}, margin {metrics['margin']:.2f}, {metrics['pairs']:,.0f} pairs"


STAGE = Stage("dpo", DpoConfig, inputs, run, summary, version=2, makes="policy", label="DPO")
