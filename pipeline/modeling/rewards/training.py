"""Trains reward models with TRL, on rankings that were rendered and tokenized here.

A row is one ranking: all judgements about the answers to one prompt (arXiv 2203.02155, section 3.5). Every answer goes
through the model once, for all pairs that contain it, and all rankings have equal weight. Six pairs of four answers
cost four passes, not twelve, and an answer is not repeated within an epoch.

With `sft_weight` the transformer also predicts the ranked answers with the policy's frozen language-model head (arXiv
2406.10216): so it keeps the policy's knowledge and does not fit only features that few pairs show, such as manners.
With `token_weight` the head also learns from every token of an answer (as verifiers in arXiv 2110.14168, section 4.2):
so the wrong token itself gets a signal. Both apply in training only; the score is that of the last token.
"""

import hashlib
from array import array
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict, cast

import pyarrow as pa
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from trl import RewardConfig as TrlRewardConfig
from trl import RewardTrainer as TrlRewardTrainer

from pipeline.config.nodes.learning import RewardConfig
from pipeline.modeling.figures import Counts, ExactFigures
from pipeline.modeling.heads import LanguageHead
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.passes import pad_rows, token_logprobs
from pipeline.modeling.preferences.losses import Number
from pipeline.modeling.preferences.pairs import LABEL_NOISE, SIDES, columns_of_pair, sides_in
from pipeline.modeling.rewards.models import head_of, language_head
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.modeling.sources import in_float32
from pipeline.modeling.stored import IDS, Kind, StoredRows, dataset_of, stored_rows
from pipeline.modeling.training import early_stopping_callbacks, fine_tuning_arguments
from pipeline.stage import StageContext


class Pair(NamedTuple):
    """Two answers to one prompt as token ids, and the margin of the preference for the first, in (0, 1]."""

    chosen: AnsweredPrompt
    rejected: AnsweredPrompt
    margin: float
    group: Hashable  # equal for all pairs of one ranking
    label_noise: float = 0.0  # probability that the order is wrong


PAIRS = Kind[Pair](
    {**SIDES, "margin": pa.float64(), "group": pa.string(), LABEL_NOISE: pa.float64()},
    lambda pair: {
        **columns_of_pair(pair), "margin": pair.margin, "group": str(pair.group), LABEL_NOISE: pair.label_noise
    },
    lambda row: Pair(*sides_in(row), row["margin"], row["group"], row[LABEL_NOISE]),
)  # fmt: skip


class RankedRow(TypedDict):
    """A ranking: `prompt` is the number of prompt tokens at the start of each of `answers`.

    `pairs` are indices into `answers`, the chosen one first; each has a margin and a label noise.
    """

    prompt: int
    answers: list[list[int]]
    pairs: list[list[int]]
    margins: list[float]
    label_noise: list[float]


RANKINGS = Kind[RankedRow](
    {
        "prompt": pa.int32(),
        "answers": pa.list_(IDS),
        "pairs": pa.list_(IDS),
        "margins": pa.list_(pa.float64()),
        LABEL_NOISE: pa.list_(pa.float64()),
    },
    lambda row: row,
    lambda row: cast(RankedRow, row),
)


def bradley_terry(
    scores: Tensor, pairs: Tensor, shares: Tensor, margins: Number = 0.0, label_noise: Number = 0.0
) -> Tensor:
    """Return -(1 - e) log s(c - r - m) - e log s(r - c - m), summed over pairs with their shares; a scalar.

    c and r are the scores of the chosen and of the rejected answer, s is the logistic sigmoid, m the margin (Llama 2,
    arXiv 2307.09288, equation 2), and e the label noise: the expectation of the loss if the order is wrong with this
    probability, as conservative DPO's (`preferences.losses.cdpo`). `scores` [answers]; `pairs` [pairs, 2], the indices
    of c and r; `shares` [pairs], which add up to 1; `margins` and `label_noise` [pairs] or one for all.
    """
    chosen, rejected = scores[pairs].unbind(1)
    right, wrong = F.logsigmoid(chosen - rejected - margins), F.logsigmoid(rejected - chosen - margins)
    return -(shares * ((1 - label_noise) * right + label_noise * wrong)).sum()


class RewardTrainer(ExactFigures, TrlRewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer with rankings in place of pairs. Means are over rankings.

    A score is read at the last real token by its index, as in all stages. (transformers reads it at the last token
    that is not PAD, which fails for a tokenizer that pads with its stop token.)
    """

    FIGURES: ClassVar = {"accuracy": "rankings", "margin": "rankings"}
    language: LanguageHead | None = None  # the head for the SFT loss, if that is part of the loss
    sft_weight: float = 0.0
    token_weight: float = 0.0

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt", "answers", "pairs", "margins", "label_noise"]

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        return {"rankings": inputs["rankings"]}

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        return shares["rankings"] * self._loss(model, inputs)

    def _loss(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss over the batch's rankings, a scalar; record accuracy and margin."""
        training = self.model.training
        with_sft, with_tokens = training and self.language is not None, training and self.token_weight > 0
        ids, attention = inputs["input_ids"], inputs["attention_mask"]
        outputs = model(input_ids=ids, attention_mask=attention, use_cache=False, output_hidden_states=True)
        states, head, pairs, shares = outputs.hidden_states[-1], head_of(model), inputs["pairs"], inputs["shares"]
        rows = torch.arange(len(ids), device=ids.device)
        read = outputs.logits if head is None else head(states[rows, attention.sum(1) - 1])
        scores = read.squeeze(-1).float()
        of_labels = inputs.get("margins", 0.0), inputs.get("label_noise", 0.0)
        loss = bradley_terry(scores, pairs, shares, *of_labels)
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * (shares * scores[pairs].sum(1) ** 2).sum()
        if with_sft:
            loss = loss + self.sft_weight * self._sft_loss(states, ids, inputs["token_shares"])
        if with_tokens:
            answers = (inputs["token_shares"] > 0).float()
            of_tokens = head(states).squeeze(-1).float()
            means = (of_tokens * answers).sum(1) / answers.sum(1)
            loss = loss + self.token_weight * bradley_terry(means, pairs, shares, *of_labels)
        with torch.no_grad():
            gaps = scores[pairs[:, 0]] - scores[pairs[:, 1]]
            self.record({"accuracy": (shares * (gaps > 0)).sum(), "margin": (shares * gaps).sum()})
        return loss

    def _sft_loss(self, states: Tensor, ids: Tensor, shares: Tensor) -> Tensor:
        """Return the cross-entropy of the answers' tokens, summed with their shares; a scalar.

        `states` is [answers, width, hidden]; `ids` and `shares` are [answers, width].
        """
        assert self.language is not None
        real = shares[:, 1:] > 0
        before = states[:, :-1][real].to(self.language.dtype)
        logprobs = token_logprobs(before, ids[:, 1:][real], self.language).logprobs
        return -(shares[:, 1:][real] * logprobs).sum()


def reward_trainer(
    in_training: ModelInTraining,
    train: Sequence[Pair],
    test: Sequence[Pair],
    config: RewardConfig,
    context: StageContext,
) -> RewardTrainer:
    """Return a trainer with dropout off; `config.batch_size` counts rankings."""
    rows = [_ranked(part, context) for part in (train, test)]
    options = fine_tuning_arguments(config, context, len(rows[0]), in_training.device, half=in_training.half)
    pad_id = in_training.tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=in_training.model,
        args=TrlRewardConfig(**options, max_length=None),
        data_collator=lambda chosen: collate_rows(chosen, pad_id, margin=config.margin, label_noise=config.label_noise),
        train_dataset=dataset_of(rows[0], RANKINGS),
        eval_dataset=dataset_of(rows[1], RANKINGS),
        processing_class=in_training.tokenizer,
        callbacks=early_stopping_callbacks(config),
    )
    if config.sft_weight:
        source = in_float32(in_training.source) if config.peft.method == "full" else in_training.source
        trainer.language = language_head(source, in_training.tokenizer, in_training.device)
        trainer.sft_weight = config.sft_weight
    trainer.token_weight = config.token_weight
    return trainer


def _ranked(pairs: Sequence[Pair], context: StageContext) -> Sequence[RankedRow]:
    """Return the rankings of pairs, in a file if the pairs are in one."""
    if not isinstance(pairs, StoredRows):
        return [*rankings(pairs)]
    return stored_rows(f"{pairs.file.stem}.rankings", RANKINGS, context, lambda: rankings(pairs))


def rankings(pairs: Sequence[Pair]) -> Iterator[RankedRow]:
    """Collect the pairs of each group and prompt into one ranking, with each answer once."""
    found: dict[bytes, array[int]] = {}
    for place, pair in enumerate(pairs):
        key = hashlib.blake2b(repr((pair.group, pair.chosen.prompt)).encode(), digest_size=16).digest()
        found.setdefault(key, array("q")).append(place)
    return (_ranking([pairs[place] for place in places]) for places in found.values())


def _ranking(pairs: Sequence[Pair]) -> RankedRow:
    answers: dict[tuple[int, ...], int] = {}
    sides = [[tuple(side.prompt + side.answer) for side in (pair.chosen, pair.rejected)] for pair in pairs]
    places = [[answers.setdefault(side, len(answers)) for side in both] for both in sides]
    return {
        "prompt": len(pairs[0].chosen.prompt),
        "answers": [list(ids) for ids in answers],
        "pairs": places,
        "margins": [pair.margin for pair in pairs],
        "label_noise": [pair.label_noise for pair in pairs],
    }


def collate_rows(
    rows: Sequence[Mapping[str, Any]], pad_id: int, *, margin: bool, label_noise: bool = False
) -> dict[str, Tensor]:
    """Join rankings into one batch: all answers, padded on the right; pairs as indices of rows; shares of the loss.

    The pairs of a ranking have equal shares of its part of the mean, and so have its answers' tokens. Ids, mask and
    token shares are [answers, width]; pairs [pairs, 2]; shares, margins and label noise [pairs]; rankings a scalar.
    """
    ids, attention = pad_rows([answer for row in rows for answer in row["answers"]], pad_id)
    starts = [sum(len(row["answers"]) for row in rows[:i]) for i in range(len(rows))]
    pairs = [
        [start + place for place in pair] for start, row in zip(starts, rows, strict=True) for pair in row["pairs"]
    ]
    shares = [1 / (len(rows) * len(row["pairs"])) for row in rows for _ in row["pairs"]]
    prompts = torch.tensor([row["prompt"] for row in rows for _ in row["answers"]])[:, None]
    tokens = attention * (torch.arange(ids.shape[1]) >= prompts)
    owners = torch.tensor([i for i, row in enumerate(rows) for _ in row["answers"]])
    counts = torch.zeros(len(rows), dtype=torch.long).index_add_(0, owners, tokens.sum(1))
    batch = {
        "input_ids": ids,
        "attention_mask": attention,
        "pairs": torch.tensor(pairs),
        "shares": torch.tensor(shares),
        "token_shares": tokens / (len(rows) * counts[owners][:, None]),
        "rankings": torch.tensor(len(rows)),
    }
    for name, wanted in (("margins", margin), ("label_noise", label_noise)):
        if wanted:
            batch[name] = torch.tensor([one for row in rows for one in row[name]])
    return batch
