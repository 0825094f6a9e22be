"""Forward passes over prompts with their answers, as PPO needs them: answer positions only, nothing whole in memory.

Log-probabilities and values of an answer's tokens are read from the hidden state before each. Logits are made for a
chunk of positions at a time, and made again in the backward pass, so no [rows, length, vocabulary] tensor ever exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LOGITS = 2**23  # numbers of logits in memory at once: 32 MB in float32


@dataclass(frozen=True)
class Words:
    """A language-model head, as far as the tokenizer has words: ids beyond (padding of the vocabulary) do not exist."""

    head: Any
    count: int

    def __call__(self, states: Tensor) -> Tensor:
        """[…, hidden] -> […, count] logits."""
        return cast(Tensor, self.head(states)[..., : self.count])


class Batch(NamedTuple):
    """Prompts with their answers, padded on the right to the longest of them."""

    ids: Tensor  # [rows, width]
    attention: Tensor  # [rows, width] 1 where a token is real
    positions: Tensor  # [rows, width] the exclusive cumulative sum of the attention mask
    before: Tensor  # [rows, width] bool: the next token is one of the answer's
    mask: Tensor  # [rows, longest answer] bool: the answer's tokens, aligned to the left
    tokens: Tensor  # [answer tokens] the answers' tokens, row after row

    def aligned(self, values: Tensor) -> Tensor:
        """[answer tokens] as [rows, longest answer], 0 where there is no token."""
        return torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device).masked_scatter(self.mask, values)


def batch_of(prompts: Sequence[list[int]], answers: Sequence[list[int]], pad_id: int, device: torch.device) -> Batch:
    """Rows of token ids as one batch. Every prompt and every answer has at least one token."""
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    starts, counts = (torch.tensor([len(part) for part in parts])[:, None] for parts in (prompts, answers))
    places = torch.arange(max(map(len, rows)))[None]
    ids = torch.tensor([row + [pad_id] * (places.shape[1] - len(row)) for row in rows])
    attention = (places < starts + counts).long()
    before = (places >= starts - 1) & (places < starts + counts - 1)
    mask = torch.arange(int(counts.max()))[None] < counts
    tokens = torch.tensor([token for answer in answers for token in answer])
    positions = attention.cumsum(1) - attention
    return Batch(*(part.to(device) for part in (ids, attention, positions, before, mask, tokens)))


def answer_states(decoder: Any, batch: Batch) -> Tensor:
    """[answer tokens, hidden]: the last hidden state before each token of the answers."""
    output = decoder(input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False)
    return cast(Tensor, output.last_hidden_state[batch.before])


def last_states(decoder: Any, batch: Batch) -> Tensor:
    """[rows, hidden]: the hidden state at the last real token of each row, by index."""
    output = decoder(input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False)
    ends = batch.attention.sum(1) - 1
    return cast(Tensor, output.last_hidden_state[torch.arange(len(ends), device=ends.device), ends])


class TokenLogprobs(NamedTuple):
    """[answer tokens] each, float32."""

    logprobs: Tensor
    entropy: Tensor | None  # of the whole distribution at that place, in nats


def token_logprobs(
    states: Tensor, tokens: Tensor, head: Words, temperature: float, *, entropy: bool = False
) -> TokenLogprobs:
    """log p(token | what is before it) at the sampling temperature, chunk by chunk.

    Entropy carries no gradient.
    """

    def chunk(states: Tensor, tokens: Tensor) -> Tensor:
        return -F.cross_entropy(head(states).float() / temperature, tokens, reduction="none")

    def chunk_entropy(states: Tensor) -> Tensor:
        logs = F.log_softmax(head(states).float() / temperature, dim=-1)
        return -(logs.exp() * logs).sum(-1)

    size = max(1, LOGITS // head.count)
    parts = list(zip(torch.split(states, size), torch.split(tokens, size), strict=True))
    recompute = torch.is_grad_enabled() and len(parts) > 1
    logprobs = [
        cast(Tensor, checkpoint(chunk, s, t, use_reentrant=False)) if recompute else chunk(s, t) for s, t in parts
    ]
    with torch.no_grad():
        entropies = torch.cat([chunk_entropy(s) for s, _ in parts]) if entropy else None
    return TokenLogprobs(torch.cat(logprobs), entropies)
