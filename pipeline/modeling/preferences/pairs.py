"""Preferences as token ids: a prompt with a chosen and a rejected answer; and batches of them, as DPO learns them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.modeling.stored import IDS, Kind

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


def columns_of_pair(pair: Sequence[Any]) -> dict[str, list[int]]:
    """Return the sides of a pair as columns. Both follow the same prompt."""
    chosen, rejected = pair[:2]
    return {"prompt_ids": chosen.prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}


def sides_in(row: Mapping[str, Any]) -> tuple[AnsweredPrompt, AnsweredPrompt]:
    """Return the chosen and the rejected side from their columns."""
    prompt = row["prompt_ids"]
    return AnsweredPrompt(prompt, row["chosen_ids"]), AnsweredPrompt(prompt, row["rejected_ids"])


SIDES = dict.fromkeys(("prompt_ids", "chosen_ids", "rejected_ids"), IDS)
RENDERED_PAIRS = Kind[RenderedPair](
    {**SIDES, LABEL_NOISE: pa.float64()},
    lambda pair: {**columns_of_pair(pair), LABEL_NOISE: RenderedPair(*pair).label_noise},
    lambda row: RenderedPair(*sides_in(row), row[LABEL_NOISE]),
)


class Sides(Sequence[AnsweredPrompt]):
    """The answers of several files of pairs, each pair's chosen one first."""

    def __init__(self, *parts: Sequence[Any]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return 2 * sum(map(len, self.parts))

    def __getitem__(self, place: Any) -> Any:
        number, side = divmod(place, 2)
        for part in self.parts:
            if number < len(part):
                return part[number][side]
            number -= len(part)
        raise IndexError(place)

    def __iter__(self) -> Iterator[AnsweredPrompt]:
        return (side for pair in chain(*self.parts) for side in pair[:2])


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator of pairs, with the label noise of each pair, [pairs], if its rows have it."""

    def torch_call(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        if LABEL_NOISE in examples[0]:
            batch[LABEL_NOISE] = torch.tensor([example[LABEL_NOISE] for example in examples])
        return batch
