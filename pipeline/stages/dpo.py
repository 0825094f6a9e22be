"""`dpo`: direct preference optimization (arXiv 2305.18290), from the SFT policy, which is also the reference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.nodes.learning import DpoConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.judgements.noise import check_label_noise
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

    given = [_rows(name, config, context) for name in ("train.jsonl", "test.jsonl")]
    verdicts = check_gates(context, "dpo")
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.row_limit(config.max_length)

    def pairs(rows: list[dict[str, Any]], file: Path) -> list[RenderedPair]:
        return fitting_rows(rows, lambda row: render_pair(chat, row), lambda pair: pair.length, limit, file, context)

    train, test = (pairs(*part) for part in given)
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


def _rows(name: str, config: DpoConfig, context: StageContext) -> tuple[list[dict[str, Any]], Path]:
    """Return the pairs of one file, and its path. Raises `RequestError` if there are none that can be used."""
    file = context.inputs["preferences"].file(name)
    rows = read_jsonl(file)
    if not rows:
        raise RequestError(f"{file}: no pairs to learn from.")
    if config.label_noise:
        check_label_noise(rows, file, "dpo.label_noise", context.say)
    return rows, file


def summary(metrics: Mapping[str, float]) -> str:
    return f"accuracy {metrics['accuracy']:.2f}, margin {metrics['margin']:.2f}, {metrics['pairs']:,.0f} pairs"


ROWS = ModelRows("preferences", ("train.jsonl",), passes=2)
STAGE = Stage(
    "dpo", DpoConfig, inputs, run, summary, version=2, makes="policy", label="DPO",
    rows=ROWS, is_distributed=True,
)  # fmt: skip
