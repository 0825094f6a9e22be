"""`reward`: a Bradley-Terry reward model (arXiv 2203.02155) from the SFT policy.

`judge` trains the same kind of model on other pairs, with the functions of this module.
"""

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config.nodes.learning import RewardConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.judgements.noise import check_label_noise
from pipeline.data.rows import jsonl_rows, prompt_id
from pipeline.errors import RequestError
from pipeline.evaluation.calibration import calibration
from pipeline.evaluation.winrates import outcomes
from pipeline.files import write_atomically
from pipeline.lengths.fitting import fitting_rows
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext
from pipeline.store.hashing import content_hash

if TYPE_CHECKING:
    from pipeline.modeling.in_training import ModelInTraining
    from pipeline.modeling.rewards.models import RewardNormalization
    from pipeline.modeling.rewards.training import Pair
    from pipeline.modeling.stored import StoredRows


class Pairs(NamedTuple):
    """The pairs of `preferences` that train and test a reward model."""

    train: str  # a file
    test: str  # a file
    people: str  # the metric with people's accuracy on the test pairs
    missing: str  # the message if a file has no pairs


PAIRS = Pairs("train.jsonl", "test.jsonl", "accuracy_people", "no pairs to learn a reward from.")
NORMALIZATION_PAIRS = 500  # training pairs used to measure the reward normalization
PADDING_ANSWERS = 16  # answers used to measure the effects of padding


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": FromStage("sft"), "preferences": FromStage("preferences")}


def run(config: RewardConfig, context: StageContext) -> Metrics:
    return train_reward_model("reward", PAIRS, config, context)


def train_reward_model(name: str, pairs: Pairs, config: RewardConfig, context: StageContext) -> Metrics:
    """Train on `pairs`; write the model, its calibration curve and `reward.json`. `name` labels the progress."""
    from pipeline.modeling import training
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.rewards.models import load_reward_for_training
    from pipeline.modeling.rewards.training import reward_trainer

    files = [_file(file, pairs.missing, context) for file in (pairs.train, pairs.test)]
    for file in files if config.label_noise else ():
        check_label_noise(jsonl_rows(file), file, f"{name}.label_noise", context.say)
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context, load_reward_for_training)
    limit = in_training.row_limit(config.max_length)
    train, test = (_pairs(file, in_training, limit, context) for file in files)
    trainer = reward_trainer(in_training, train, test, config, context)
    history = training.fine_tune(trainer, context, name, config)
    in_training.model.eval()
    normalization = _measure_normalization(in_training, train, config.seed)
    measured = _test_metrics(in_training, test, normalization, context)
    in_training.save(context)
    if context.is_main:
        _write_reward_file(in_training, normalization, context)
    people = context.inputs["preferences"].metrics.get(pairs.people)
    return {
        "train_loss": training.mean_loss(history),
        "eval_loss": training.best_evaluation(history, config.keep_best)["eval_loss"],
        **measured,
        **({"accuracy_people": people} if people is not None else {}),
        "pairs": len(train),
        "test": len(test),
        **normalization._asdict(),
        **in_training.size_metrics(),
        **training.training_cost(trainer),
    }


def _file(name: str, missing: str, context: StageContext) -> Path:
    """Return a file of pairs. Raises `RequestError` if there are none."""
    file = context.inputs["preferences"].path / name
    if not file.is_file() or not any(jsonl_rows(file)):
        raise RequestError(f"{file}: {missing}")
    return file


def _pairs(file: Path, in_training: "ModelInTraining", limit: int, context: StageContext) -> "StoredRows[Pair]":
    """Return pairs as token ids, without those that are too long or have equal answers."""
    from pipeline.modeling.rewards.training import PAIRS as KIND
    from pipeline.modeling.stored import stored_rows

    def different() -> "Iterator[Pair]":
        render = partial(_render, in_training=in_training)
        return _different(fitting_rows(jsonl_rows(file), render, _length, limit, file, context), file, context)

    return stored_rows(file.stem, KIND, context, different)


def _different(pairs: "Iterable[Pair]", file: Path, context: StageContext) -> "Iterator[Pair]":
    """Yield the pairs of different answers; remark on the others. Raises `RequestError` if all are equal."""
    equal = count = 0
    for pair in pairs:
        count += 1
        if pair.chosen != pair.rejected:
            yield pair
        else:
            equal += 1
    if equal == count:
        raise RequestError(f"{file}: chosen and rejected are the same in each of its {count} pairs.")
    if equal:
        context.say(f"{file.name}: {equal} pairs of the same answer are left out")


def _render(row: Mapping[str, Any], in_training: "ModelInTraining") -> "Pair":
    from pipeline.modeling.preferences.pairs import render_pair
    from pipeline.modeling.rewards.training import Pair

    margin, group = float(row.get("margin", 1.0)), row.get("group") or prompt_id(row["prompt"])
    rendered = render_pair(in_training.chat, row)
    return Pair(rendered.chosen, rendered.rejected, margin, group, rendered.label_noise)


def _length(pair: "Pair") -> int:
    return max(pair.chosen.length, pair.rejected.length)


def _scores(in_training: "ModelInTraining", pairs: "Sequence[Pair]") -> tuple[list[float], list[float]]:
    """Return raw scores of the chosen and of the rejected answers, [pairs] each."""
    from pipeline.modeling.preferences.pairs import Sides
    from pipeline.modeling.rewards.scoring import raw_scores

    scores = raw_scores(in_training.model, Sides(pairs), pad_id=in_training.tokenizer.pad_token_id, batch_size=32)
    return scores[::2], scores[1::2]


def _measure_normalization(in_training: "ModelInTraining", train: "Sequence[Pair]", seed: int) -> "RewardNormalization":
    """Return the reward normalization: mean and 1 / standard deviation of the scores of judged answers.

    Chosen and rejected answers of up to `NORMALIZATION_PAIRS` pairs count alike: they resemble PPO's first answers.
    """
    from pipeline.modeling.rewards.models import RewardNormalization

    some = random.Random(seed).sample(train, min(NORMALIZATION_PAIRS, len(train)))
    scores = [score for side in _scores(in_training, some) for score in side]
    mean = sum(scores) / len(scores)
    deviation = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
    return RewardNormalization(mean, 1 / deviation if deviation > 0 else 1.0)


def _test_metrics(
    in_training: "ModelInTraining", test: "Sequence[Pair]", normalization: "RewardNormalization", context: StageContext
) -> dict[str, float]:
    """Return metrics of the model on pairs with unseen prompts; write the calibration curve."""
    from pipeline.modeling.preferences.pairs import Sides
    from pipeline.modeling.rewards.scoring import padding_effects

    chosen, rejected = _scores(in_training, test)
    curve = calibration(chosen, rejected)
    if context.is_main:
        write_atomically(context.output_dir / "calibration.json", json.dumps(curve.as_json(), indent=2))
    sides = Sides(test)
    lengths = [len(side.answer) for side in sides]
    answers = [*islice(sides, PADDING_ANSWERS)]
    effects = padding_effects(in_training.model, answers, in_training.tokenizer.pad_token_id)
    return {
        "loss": _mean([math.log1p(math.exp(min(r - c, 700))) for c, r in zip(chosen, rejected, strict=True)]),
        "accuracy": _mean(outcomes(chosen, rejected)),
        "accuracy_longer": _mean(outcomes(lengths[::2], lengths[1::2])),
        "reference_mean": _mean(normalization([*chosen, *rejected])),
        **effects.scaled(normalization.scale),
        "calibration_error": curve.error,
    }


def _write_reward_file(
    in_training: "ModelInTraining", normalization: "RewardNormalization", context: StageContext
) -> None:
    """Write `reward.json`: the reward normalization, and the chat format and vocabulary of the training."""
    from pipeline.modeling.rewards.models import REWARD_FILE

    tokenizer = in_training.tokenizer
    card = {
        **normalization._asdict(),
        "template": content_hash(tokenizer.chat_template),
        "stop_id": in_training.chat.stop_id,
        "pad_id": tokenizer.pad_token_id,
        "vocabulary": content_hash(tokenizer.get_vocab()),
    }
    write_atomically(context.output_dir / REWARD_FILE, json.dumps(card, indent=2))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(metrics: Mapping[str, float]) -> str:
    people = f", people {metrics['accuracy_people']:.2f}" if "accuracy_people" in metrics else ""
    return f"accuracy {metrics['accuracy']:.2f} (longer wins {metrics['accuracy_longer']:.2f}{people})"


ROWS = ModelRows("preferences", (PAIRS.train,), passes=2)
STAGE = Stage(
    "reward", RewardConfig, inputs, run, summary, version=2, makes="reward model",
    rows=ROWS, is_distributed=True,
)  # fmt: skip
