"""`dpo`: direct preference optimization (arXiv 2305.18290), from the SFT policy, which is also the reference."""

from collections.abc import Mapping

from pipeline.config.schema import DpoConfig, PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.gates.check import check_gates
from pipeline.gates.rules import gate_metrics
from pipeline.lengths.fitting import fitting_rows
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: DpoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training, tuning
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.preferences.pairs import RenderedPair, render_pair

    verdicts = check_gates(context, "dpo")
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.row_limit(config.max_length)

    def pairs(name: str) -> list[RenderedPair]:
        file = context.inputs["preferences"].file(name)
        rows = read_jsonl(file)
        if not rows:
            raise RequestError(f"{file}: no pairs to learn from.")
        return fitting_rows(rows, lambda row: render_pair(chat, row), lambda pair: pair.length, limit, file, context)

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


ROWS = ModelRows("preferences", ("train.jsonl",), passes=2)
STAGE = Stage(
    "dpo", DpoConfig, inputs, run, summary, version=2, makes="policy", label="DPO",
    rows=ROWS, is_distributed=True,
)  # fmt: skip
