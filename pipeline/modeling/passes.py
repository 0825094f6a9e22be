"""Forward passes over prompts with answers: only answer positions are computed, in chunks.

Log-probabilities and values of an answer's tokens come from the hidden state before each token. Logits are computed for
a chunk of positions at a time, and again in the backward pass, so no [rows, length, vocabulary] tensor exists.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipeline.modeling.heads import LanguageHead

MAX_LOGITS = 2**23  # number of logits in memory at once: 32 MiB in float32


def pad_rows(rows: Sequence[list[int]], pad_id: int, *, left: bool = False, more: int = 0) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, [rows, longest + more] each; padded on the right, or on the left."""
    width = max(map(len, rows)) + more
    places, counts = torch.arange(width)[None], torch.tensor([[len(row)] for row in rows])
    attention = (places >= width - counts) if left else (places < counts)
    tokens = torch.tensor([token for row in rows for token in row])
    ids = torch.full(attention.shape, pad_id).masked_scatter_(attention, tokens)
    return ids, attention.long()


def scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Place values, [true places of the mask], at these places row by row, with 0 elsewhere; shape of `mask`."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


class Batch(NamedTuple):
    """Prompts with their answers, padded on the right to the longest row."""

    ids: Tensor  # [rows, width]
    attention: Tensor  # [rows, width] 1 at real tokens
    before: Tensor  # [rows, width] bool: the next token belongs to the answer
    mask: Tensor  # [rows, longest answer] bool: the answer's tokens, aligned to the left
    tokens: Tensor  # [answer tokens] the answers' tokens, row by row

    def aligned(self, values: Tensor) -> Tensor:
        """Return [answer tokens] values as [rows, longest answer], 0 outside the mask."""
        return scatter(values, self.mask)


def batch_of(prompts: Sequence[list[int]], answers: Sequence[list[int]], pad_id: int, device: torch.device) -> Batch:
    """Join prompts and answers into one batch. Every prompt and every answer needs at least one token."""
    ids, attention = pad_rows([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)], pad_id)
    starts, counts = (torch.tensor([len(part) for part in parts])[:, None] for parts in (prompts, answers))
    places = torch.arange(ids.shape[1])[None]
    before = (places >= starts - 1) & (places < starts + counts - 1)
    mask = torch.arange(int(counts.max()))[None] < counts
    tokens = torch.tensor([token for answer in answers for token in answer])
    return Batch(*(part.to(device) for part in (ids, attention, before, mask, tokens)))


def states_of(transformer: Any, batch: Batch) -> Tensor:
    """Return the last hidden states, [rows, width, hidden]. With right padding the default positions are correct."""
    output = transformer(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False)
    return cast(Tensor, output.last_hidden_state)


def answer_states(transformer: Any, batch: Batch) -> Tensor:
    """Return the last hidden state before each token of the answers, [answer tokens, hidden]."""
    return states_of(transformer, batch)[batch.before]


def cache_argument(transformer: Any) -> str:
    """Return the name of a transformer's argument for the cache: `cache` from transformers 5.24 on."""
    return "cache" if "cache" in inspect.signature(transformer.forward).parameters else "past_key_values"


def last_states(transformer: Any, batch: Batch) -> Tensor:
    """Return the last hidden state at the last real token of each row, [rows, hidden]."""
    ends = batch.attention.sum(1) - 1
    return states_of(transformer, batch)[torch.arange(len(ends), device=ends.device), ends]


class TokenLogprobs(NamedTuple):
    """Log-probabilities and an optional statistic, [answer tokens] each, float32."""

    logprobs: Tensor
    statistic: Tensor | None = None  # the requested statistic, without gradient


def entropy(logs: Tensor) -> Tensor:
    """Return the entropy in nats of the whole distribution: log-probabilities […, vocabulary] -> […]."""
    return -(logs.exp() * logs).sum(-1)


def collision(logs: Tensor) -> Tensor:
    """Return the log of the sum of squared probabilities: log-probabilities […, vocabulary] -> […]."""
    return (2 * logs).logsumexp(-1)


def token_logprobs(
    states: Tensor,
    tokens: Tensor,
    head: LanguageHead,
    temperature: float = 1.0,
    *,
    statistic: Callable[[Tensor], Tensor] | None = None,
) -> TokenLogprobs:
    """Return log p(token | text before it) at the sampling temperature, [tokens], computed in chunks.

    `states` [tokens, hidden] are the states before each of `tokens` [tokens]. `statistic` maps log-probabilities of the
    whole distribution, […, vocabulary], to […].
    """

    def chunk(states: Tensor, tokens: Tensor) -> Tensor:
        return -F.cross_entropy(head(states).float() / temperature, tokens, reduction="none")

    def chunk_statistic(states: Tensor) -> Tensor:
        assert statistic is not None
        return statistic(F.log_softmax(head(states).float() / temperature, dim=-1))

    size = max(1, MAX_LOGITS // head.size)
    parts = list(zip(torch.split(states, size), torch.split(tokens, size), strict=True))
    recompute = torch.is_grad_enabled() and len(parts) > 1
    logprobs = [
        cast(Tensor, checkpoint(chunk, s, t, use_reentrant=False)) if recompute else chunk(s, t) for s, t in parts
    ]
    with torch.no_grad():
        found = torch.cat([chunk_statistic(s) for s, _ in parts]) if statistic else None
    return TokenLogprobs(torch.cat(logprobs), found)
