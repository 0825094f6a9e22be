"""Log-probabilities of given answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from pipeline.modeling.heads import LanguageHead, causal_of, transformer_of
from pipeline.modeling.passes import answer_states, batch_of, token_logprobs
from pipeline.progress import Advance


class Answered(NamedTuple):
    """A prompt and an answer to it, as token ids; the answer ends with its stop token unless it was cut off."""

    prompt: list[int]
    answer: list[int]


@torch.no_grad()
def answer_logprobs(
    model: Any,
    rows: Sequence[Answered],
    *,
    pad_id: int,
    batch_size: int,
    temperature: float = 1.0,
    advance: Advance = lambda done: None,
) -> list[float]:
    """Sum of log p(answer token | what is before it) for each row, in the order given.

    Rows are batched by length, so little is padded; a row's value does not depend on its batch beyond rounding.
    """
    transformer, head, device = transformer_of(model), LanguageHead(causal_of(model)), next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt) + len(rows[i].answer))
    sums = [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = batch_of([rows[i].prompt for i in chosen], [rows[i].answer for i in chosen], pad_id, device)
        found = token_logprobs(answer_states(transformer, batch), batch.tokens, head, temperature).logprobs
        for i, value in zip(chosen, batch.aligned(found).sum(1).tolist(), strict=True):
            sums[i] = value
        advance(len(chosen))
    return sums
