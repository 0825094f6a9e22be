"""Repairs conversations whose speakers do not alternate, without changing any text."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from pipeline.data.rows import Message


def repair_order(turns: Sequence[Message]) -> list[Message]:
    """The turns in the order that `in_order` requires, as far as four repairs can.

    System turns are joined into one at the beginning. Turns before the first user turn and after the last assistant
    turn are cut off. Consecutive turns of user or assistant are joined with a blank line, unless only one of them is
    learned. Turns in order are returned unchanged.
    """
    system = [turn for turn in turns if turn["role"] == "system"]
    spoken = _whole_exchanges([turn for turn in turns if turn["role"] != "system"])
    runs = [list(run) for _, run in groupby(spoken, key=lambda turn: (turn["role"], turn.get("train")))]
    joined = [turn for run in runs for turn in (run if run[0]["role"] == "tool" else [_joined(run)])]
    return [*([_joined(system)] if system else []), *joined]


def _whole_exchanges(spoken: list[Message]) -> list[Message]:
    """From the first turn of the user to the last of the assistant."""
    roles = [turn["role"] for turn in spoken]
    if "user" not in roles or "assistant" not in roles:
        return []
    return spoken[roles.index("user") : len(roles) - roles[::-1].index("assistant")]


def _joined(run: Sequence[Message]) -> Message:
    joined = Message(role=run[0]["role"], content=_text(turn["content"] for turn in run))
    if run[0].get("train") is False:
        joined["train"] = False
    if thoughts := _text(turn.get("reasoning_content", "") for turn in run):
        joined["reasoning_content"] = thoughts
    return joined


def _text(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text.strip())
