"""`dpo`: direct preference optimization (arXiv 2305.18290), from the SFT policy, which is also the reference."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.nodes.learning import DpoConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.judgements.noise import check_label_noise
from pipeline.data.rows import jsonl_rows
from pipeline.errors import RequestError
from pipeline.gates.check import check_gates
from pipeline.gates.rules import gate_metrics
from pipeline.lengths.fitting import fitting_rows
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext

if TYPE_CHECKING:
    from pipeline.modeling.preferences.pairs import RenderedPair


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: DpoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training, tuning
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.preferences.pairs import RENDERED_PAIRS, render_pair
    from pipeline.modeling.stored import stored_rows

    files = [_file(name, config, context) for name in ("train.jsonl", "test.jsonl")]
    verdicts = check_gates(context, "dpo")
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context)
    chat, limit = in_training.chat, in_training.row_limit(config.max_length)

    def pairs(file: Path) -> "Iterator[RenderedPair]":
        rows = jsonl_rows(file)
        return fitting_rows(rows, lambda row: render_pair(chat, row), lambda pair: pair.length, limit, file, context)

    train, test = (stored_rows(file.stem, RENDERED_PAIRS, context, partial(pairs, file)) for file in files)
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


def _file(name: str, config: DpoConfig, context: StageContext) -> Path:
    """Return a file of pairs. Raises `RequestError` if it has none that can be used."""
    file = context.inputs["preferences"].file(name)
    if not any(jsonl_rows(file)):
        raise RequestError(f"{file}: no pairs to learn from.")
    if config.label_noise:
        check_label_noise(jsonl_rows(file), file, "dpo.label_noise", context.say)
    return file


def summary(metrics: Mapping[str, float]) -> str:
    return f"accuracy {metrics['accuracy']:.2f}, margin {metrics['margin']:.2f}, {metrics['pairs']:,.0f} pairs"


ROWS = ModelRows("preferences", ("train.jsonl",), passes=2)
STAGE = Stage(
    "dpo", DpoConfig, inputs, run, summary, version=2, makes="policy", label="DPO",
    rows=ROWS, is_distributed=True,
)  # fmt: skip
