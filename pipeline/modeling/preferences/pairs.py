"""Renders preferences: a prompt with a chosen and a rejected answer, as token ids."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.scoring import AnsweredPrompt


class RenderedPair(NamedTuple):
    """The two answers of a preference, each after the same prompt."""

    chosen: AnsweredPrompt
    rejected: AnsweredPrompt

    @property
    def length(self) -> int:
        """Tokens of the longer side, prompt included."""
        return max(side.length for side in self)


def render_pair(chat: ChatFormat, row: Mapping[str, Any]) -> RenderedPair:
    """Return a preference as token ids. Raises `Unrenderable` if the chat template refuses it."""
    prompt = chat.prompt(row["prompt"])
    return RenderedPair(
        *(AnsweredPrompt(prompt, chat.answer(row["prompt"], row[side][0]["content"])) for side in RenderedPair._fields)
    )
