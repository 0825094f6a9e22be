"""Reward training on TRL, over rankings that were rendered and tokenized here.

A row is all that people said about the answers to one prompt (arXiv 2203.02155, section 3.5): every answer goes through
the model once, whatever the number of pairs it is in, and rankings weigh alike. Six pairs of four answers cost four
passes instead of twelve, and an answer is not shown over and over within an epoch.

With `sft_weight` the transformer goes on predicting the ranked answers through the policy's own, frozen language head
(arXiv 2406.10216): what the policy knows is not given up for what is easily seen in few pairs, such as manners. With
`token_weight` the head learns from every token of an answer, too (as verifiers do in arXiv 2110.14168, section 4.2):
the token that is wrong is then told so itself. Both are there in training only; what is read is the last token's score.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from transformers import EarlyStoppingCallback
from trl import RewardConfig as TrlRewardConfig
from trl import RewardTrainer as TrlRewardTrainer

from pipeline.config.schema import RewardConfig
from pipeline.modeling.figures import Counts, ExactFigures
from pipeline.modeling.heads import LanguageHead
from pipeline.modeling.passes import padded, token_logprobs
from pipeline.modeling.policy import in_float32
from pipeline.modeling.rewards.models import head_of, language_head
from pipeline.modeling.scoring import Answered
from pipeline.modeling.trainee import Trainee
from pipeline.modeling.training import tuning_arguments
from pipeline.stage import StageContext


class Pair(NamedTuple):
    """Two answers to one prompt as token ids, and how clearly people preferred the first, in (0, 1]."""

    chosen: Answered
    rejected: Answered
    margin: float
    group: Hashable  # what it has in common with other pairs of the same ranking


def bradley_terry(scores: Tensor, pairs: Tensor, shares: Tensor, margins: Tensor | float = 0.0) -> Tensor:
    """-log sigmoid(chosen - rejected - margin), summed over pairs with their shares.

    `scores` [answers]; `pairs` [pairs, 2], the places of the chosen and of the rejected answer; `shares` [pairs], which
    add up to 1; `margins` [pairs] or one for all.
    """
    chosen, rejected = scores[pairs].unbind(1)
    return -(shares * F.logsigmoid(chosen - rejected - margins)).sum()


class RewardTrainer(ExactFigures, TrlRewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer over rankings instead of pairs. Means are over rankings.

    A score is read at the last real token by its index, as everywhere here. (transformers reads it at the last token
    that is not PAD, and a tokenizer without a token to spare pads with its stop token.)
    """

    FIGURES: ClassVar = {"accuracy": "rankings", "margin": "rankings"}
    language: LanguageHead | None = None  # where the SFT loss is part of the loss
    sft_weight: float = 0.0
    token_weight: float = 0.0

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt", "answers", "pairs", "margins"]

    def counts(self, inputs: Mapping[str, Tensor]) -> Counts:
        return {"rankings": inputs["rankings"]}

    def share_of_loss(self, model: Any, inputs: dict[str, Any], shares: Counts) -> Tensor:
        return shares["rankings"] * self._loss(model, inputs)

    def _loss(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """The mean over the batch's rankings."""
        training = self.model.training
        with_sft, with_tokens = training and self.language is not None, training and self.token_weight > 0
        ids, attention = inputs["input_ids"], inputs["attention_mask"]
        outputs = model(input_ids=ids, attention_mask=attention, use_cache=False, output_hidden_states=True)
        states, head, pairs, shares = outputs.hidden_states[-1], head_of(model), inputs["pairs"], inputs["shares"]
        rows = torch.arange(len(ids), device=ids.device)
        read = outputs.logits if head is None else head(states[rows, attention.sum(1) - 1])
        scores = read.squeeze(-1).float()
        loss = bradley_terry(scores, pairs, shares, inputs.get("margins", 0.0))
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * (shares * scores[pairs].sum(1) ** 2).sum()
        if with_sft:
            loss = loss + self.sft_weight * self._sft_loss(states, ids, inputs["token_shares"])
        if with_tokens:
            answers = (inputs["token_shares"] > 0).float()
            of_tokens = head(states).squeeze(-1).float()
            means = (of_tokens * answers).sum(1) / answers.sum(1)
            loss = loss + self.token_weight * bradley_terry(means, pairs, shares, inputs.get("margins", 0.0))
        with torch.no_grad():
            gaps = scores[pairs[:, 0]] - scores[pairs[:, 1]]
            seen = {"accuracy": (gaps > 0).float(), "margin": gaps}
            for name, values in seen.items():
                mean = self.accelerator.gather((shares * values).sum()).mean()
                self._metrics["train" if training else "eval"][name].append(mean.item())
        return loss

    def _sft_loss(self, states: Tensor, ids: Tensor, shares: Tensor) -> Tensor:
        """Cross-entropy of the answers' tokens, summed with their shares; `states` [answers, width, hidden]."""
        assert self.language is not None
        real = shares[:, 1:] > 0
        before = states[:, :-1][real].to(self.language.dtype)
        logprobs = token_logprobs(before, ids[:, 1:][real], self.language).logprobs
        return -(shares[:, 1:][real] * logprobs).sum()


def reward_trainer(
    trainee: Trainee, train: Sequence[Pair], test: Sequence[Pair], config: RewardConfig, context: StageContext
) -> RewardTrainer:
    """A trainer with dropout off; `config.batch_size` counts rankings."""
    rows = [rankings(part) for part in (train, test)]
    options = tuning_arguments(config, context, len(rows[0]), trainee.device, half=trainee.half)
    pad_id = trainee.tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=trainee.model,
        args=TrlRewardConfig(**options, max_length=None),
        data_collator=lambda chosen: collated(chosen, pad_id, margin=config.margin),
        train_dataset=Dataset.from_list(rows[0]),
        eval_dataset=Dataset.from_list(rows[1]),
        processing_class=trainee.tokenizer,
        callbacks=[EarlyStoppingCallback(config.patience)] if config.early_stopping else [],
    )
    if config.sft_weight:
        source = in_float32(trainee.source) if config.peft.method == "full" else trainee.source
        trainer.language = language_head(source, trainee.tokenizer, trainee.device)
        trainer.sft_weight = config.sft_weight
    trainer.token_weight = config.token_weight
    return trainer


def rankings(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Pairs of one group and prompt together, each answer once.

    `prompt` is the number of its tokens, with which each of `answers` begins; `pairs` are places among these.
    """
    found: dict[tuple[Hashable, ...], tuple[dict[tuple[int, ...], int], list[list[int]], list[float]]] = {}
    for pair in pairs:
        answers, places, margins = found.setdefault((pair.group, *pair.chosen.prompt), ({}, [], []))
        sides = [tuple(side.prompt + side.answer) for side in (pair.chosen, pair.rejected)]
        places.append([answers.setdefault(side, len(answers)) for side in sides])
        margins.append(pair.margin)
    return [
        {"prompt": len(key) - 1, "answers": [list(ids) for ids in answers], "pairs": places, "margins": margins}
        for key, (answers, places, margins) in found.items()
    ]


def collated(rows: Sequence[Mapping[str, Any]], pad_id: int, *, margin: bool) -> dict[str, Tensor]:
    """Rankings as one batch: all answers, padded on the right; pairs of places in it; shares of the loss.

    The pairs of a ranking share its part of the mean equally, and so do its answers' tokens.
    """
    ids, attention = padded([answer for row in rows for answer in row["answers"]], pad_id)
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
    if margin:
        batch["margins"] = torch.tensor([one for row in rows for one in row["margins"]])
    return batch
