"""Preferences as token ids: a prompt with a chosen and a rejected answer; and batches of them, as DPO learns them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.scoring import AnsweredPrompt

LABEL_NOISE = "label_noise"  # the column of a trainer's rows, and the key of a batch


class RenderedPair(NamedTuple):
    """The two answers of a preference, each after the same prompt."""

    chosen: AnsweredPrompt
    rejected: AnsweredPrompt
    label_noise: float = 0.0  # probability that the order is wrong

    @property
    def length(self) -> int:
        """Tokens of the longer side, prompt included."""
        return max(self.chosen.length, self.rejected.length)


def render_pair(chat: ChatFormat, row: Mapping[str, Any]) -> RenderedPair:
    """Return a preference as token ids. Raises `Unrenderable` if the chat template refuses it."""
    prompt = chat.prompt(row["prompt"])
    answers = [chat.answer(row["prompt"], row[side][0]["content"]) for side in ("chosen", "rejected")]
    chosen, rejected = (AnsweredPrompt(prompt, answer) for answer in answers)
    return RenderedPair(chosen, rejected, row.get(LABEL_NOISE, 0.0))


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator of pairs, with the label noise of each pair, [pairs], if its rows have it."""

    def torch_call(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        if LABEL_NOISE in examples[0]:
            batch[LABEL_NOISE] = torch.tensor([example[LABEL_NOISE] for example in examples])
        return batch
