"""Chooses the turns of a conversation that become prompts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from labeling.records import stable_random
from pipeline.data.rows import Message, conversation_hash, is_learned, without_marks

Choice = Literal["every", "last", "random"]


def prompts_of(messages: Sequence[Message], choice: Choice, seed: int) -> list[tuple[list[Message], str]]:
    """(prompt with its history, answer that the conversation gives) of the chosen turns.

    Each learned answer to a user turn has a prompt; an assistant turn after a tool has none. `choice` takes every
    prompt, the last one, or a random one that depends on the conversation and the seed. Empty if no user turn is
    answered.
    """
    roles = [turn["role"] for turn in messages]
    exchanges = enumerate(pairwise(roles), start=1)
    answered = [at for at, who in exchanges if who == ("user", "assistant") and is_learned(messages[at])]
    if choice == "last":
        answered = answered[-1:]
    elif choice == "random" and answered:
        answered = [stable_random(seed, "prompt", conversation_hash(messages)).choice(answered)]
    return [(without_marks(messages[:index]), messages[index]["content"]) for index in answered]
