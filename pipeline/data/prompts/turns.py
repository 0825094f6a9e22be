"""Which turns of a conversation become prompts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from labeling.records import stable_random
from pipeline.data.rows import Message, content_hash, is_learned, spoken_alone

Choice = Literal["every", "last", "random"]


def prompts_of(messages: Sequence[Message], choice: Choice, seed: int) -> list[tuple[list[Message], str]]:
    """Prompts, each with all that was said before it, and the answer that the conversation gives to it.

    Every answer to the user's has a prompt, unless it is not to be learned; what an assistant says after a tool has
    none. Of those, `choice` takes every one, the last or a random one, which the conversation and the seed decide; none
    if no user is answered.
    """
    roles = [turn["role"] for turn in messages]
    exchanges = enumerate(pairwise(roles), start=1)
    answered = [at for at, who in exchanges if who == ("user", "assistant") and is_learned(messages[at])]
    if choice == "last":
        answered = answered[-1:]
    elif choice == "random" and answered:
        answered = [stable_random(seed, "prompt", content_hash(messages)).choice(answered)]
    return [(spoken_alone(messages[:index]), messages[index]["content"]) for index in answered]
