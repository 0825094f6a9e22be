"""`kto`: Kahneman-Tversky optimization (arXiv 2402.01306), from the SFT policy, on answers marked as good or bad."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.nodes.learning import KtoConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl
from pipeline.errors import RequestError
from pipeline.gates.check import check_gates
from pipeline.gates.rules import gate_metrics
from pipeline.lengths.fitting import fitting_rows
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext

if TYPE_CHECKING:
    from pipeline.modeling.in_training import ModelInTraining
    from pipeline.modeling.preferences.kto import MarkedRow

MARKS_NEEDED = (
    "kto learns from answers that people marked as good or bad, one by one (thumbs; formats kto, log and openwebui): "
    "give a file of them, labeling.path=FILE"
)
MAX_WEIGHT_RATIO = (
    4 / 3
)  # largest ratio of the total weights of good and bad answers, or of bad and good (arXiv 2402.01306)


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    pinned = config.kto.inputs.get("preferences") or config.preferences.inputs.get("rankings")
    if config.labeling.backend != "file" and not pinned:
        raise RequestError(f"{MARKS_NEEDED}. Rankings show which answer is better, not whether one is good.")
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: KtoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import training
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.preferences.kto import kto_trainer

    verdicts = check_gates(context, "kto")
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context)
    train, test = (_rows(name, in_training, config, context) for name in ("marked_train.jsonl", "marked_test.jsonl"))
    good = _balance(train, config, context)
    trainer = kto_trainer(in_training, train, test, config, context)
    history = training.fine_tune(trainer, context, "kto", config)
    in_training.save(context)
    kept = training.best_evaluation(history, config.keep_best)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": kept["eval_loss"],
        "accuracy": kept["eval_accuracy"],
        "answers": len(train),
        "good": good,
        **in_training.size_metrics(),
        **training.training_cost(trainer),
        **gate_metrics(verdicts),
    }


def _rows(name: str, in_training: "ModelInTraining", config: KtoConfig, context: StageContext) -> "list[MarkedRow]":
    """Return marked answers as token ids, without those that are too long. Raises `RequestError` if there are none."""
    from pipeline.modeling.preferences.kto import MarkedRow
    from pipeline.modeling.scoring import AnsweredPrompt

    chat, artifact = in_training.chat, context.inputs["preferences"]
    path = artifact.path / name
    rows = read_jsonl(path) if path.is_file() else []
    if not rows:
        earlier = " Preferences from before `kto` kept none: remove that folder, and they are made again."
        raise RequestError(
            f"{path}: no marked answers. {MARKS_NEEDED}, with several prompts.{'' if path.is_file() else earlier}"
        )

    def marked(row: Mapping[str, Any]) -> MarkedRow:
        answer = chat.answer(row["prompt"], row["answer"][0]["content"])
        return MarkedRow(AnsweredPrompt(chat.prompt(row["prompt"]), answer), row["good"])

    limit = in_training.row_limit(config.max_length)
    return list(fitting_rows(rows, marked, lambda row: row.answered.length, limit, path, context))


def _balance(rows: "Sequence[MarkedRow]", config: KtoConfig, context: StageContext) -> int:
    """Return the number of good answers; remark if the total weights of both are out of balance.

    Raises `RequestError` if all answers have the same mark: then there is nothing to learn.
    """
    good = sum(row.good for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        kind = "good" if good else "bad"
        raise RequestError(
            f"All {len(rows):,} answers to learn from are marked as {kind}. kto needs answers of both kinds."
        )
    ratio = config.good_weight * good / (config.bad_weight * bad)
    if not 1 / MAX_WEIGHT_RATIO <= ratio <= MAX_WEIGHT_RATIO:
        context.say(
            f"{good:,} answers are good and {bad:,} bad, and weigh {ratio:.2f} to 1 together. KTO learns best near 1: "
            f"kto.good_weight={config.bad_weight * bad / good:.2g}, for example"
        )
    return good


def summary(metrics: Mapping[str, float]) -> str:
    return f"accuracy {metrics['accuracy']:.2f}, {metrics['answers']:,.0f} marked answers, {metrics['good']:,.0f} good"


ROWS = ModelRows("preferences", ("marked_train.jsonl",))
STAGE = Stage(
    "kto", KtoConfig, inputs, run, summary, makes="policy", label="KTO",
    rows=ROWS, is_distributed=True, is_side_branch=True,
)  # fmt: skip
