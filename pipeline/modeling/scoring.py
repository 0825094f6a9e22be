"""Computes log-probabilities of given answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch

from pipeline.batches import batches_by_length
from pipeline.modeling.fsdp import computed_inside, is_sharded
from pipeline.modeling.heads import LanguageHead, transformer_of, unwrapped_model
from pipeline.modeling.passes import answer_states, batch_of, token_logprobs
from pipeline.modeling.processes import computed
from pipeline.progress import Advance


class AnsweredPrompt(NamedTuple):
    """A prompt and an answer to it, as token ids; the answer ends with its stop token unless it was cut off."""

    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        """Tokens of prompt and answer together."""
        return len(self.prompt) + len(self.answer)


@torch.no_grad()
def answer_logprobs(
    model: Any,
    rows: Sequence[AnsweredPrompt],
    *,
    pad_id: int,
    batch_size: int,
    batch_tokens: int | None = None,
    advance: Advance = lambda done: None,
) -> list[float]:
    """Return the sum of log p(answer token | tokens before it) for each row, in the given order.

    Rows are batched by length, which keeps padding small, of at most `batch_size` rows and `batch_tokens` tokens; apart
    from rounding, a row's value does not depend on its batch. Several processes share the batches out; each returns all
    values.
    """
    transformer, head, device = (
        transformer_of(model),
        LanguageHead(unwrapped_model(model)),
        next(model.parameters()).device,
    )

    def sums(places: Sequence[int]) -> list[float]:
        some = [rows[i] for i in places]
        batch = batch_of([row.prompt for row in some], [row.answer for row in some], pad_id, device)
        found = computed_inside(
            model, lambda: token_logprobs(answer_states(transformer, batch), batch.tokens, head).logprobs
        )
        return cast(list[float], batch.aligned(found).sum(1).tolist())

    lengths = [row.length for row in rows]
    return computed(
        sums, batches_by_length(lengths, batch_size, tokens=batch_tokens), advance, together=is_sharded(model)
    )
