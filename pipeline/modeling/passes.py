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
from torch.nn import Module
from torch.utils.checkpoint import checkpoint

from pipeline.modeling.heads import LanguageHead

IGNORED_LABEL = -100  # a label that takes no part in the loss
MAX_LOGITS = 2**23  # number of logits in memory at once: 32 MiB in float32
# What a pass costs apart from its tokens, in the time of tokens: starting the operations of a layer takes as long as so
# many of its multiply-adds, and adding to the weights' gradients as long as so many tokens. Measured on a CPU with 0.1
# to 21 M parameters; on a GPU they follow from its ratio of arithmetic to memory and to the start of a kernel.
START_OF_A_LAYER = {"cpu": 2**24, "cuda": 2**35}
TOKENS_PER_GRADIENT = {"cpu": 32, "cuda": 256}


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


def pass_cost(model: Any) -> int:
    """Return how many tokens take as long as one more pass through a model, apart from that pass's own tokens."""
    embeddings = cast(Tensor, model.get_input_embeddings().weight)
    inner = sum(parameter.numel() for parameter in cast(Module, model).parameters()) - embeddings.numel()
    layers, kind = int(model.config.get_text_config().num_hidden_layers), "cpu" if embeddings.is_cpu else "cuda"
    return TOKENS_PER_GRADIENT[kind] + START_OF_A_LAYER[kind] * layers // max(1, inner)


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
    return -logs.exp().mul_(logs).sum(-1)


def collision(logs: Tensor) -> Tensor:
    """Return the log of the sum of squared probabilities: log-probabilities […, vocabulary] -> […]."""
    return (2 * logs).logsumexp(-1)


def scaled(logits: Tensor, temperature: float) -> Tensor:
    """Return logits divided by the temperature, in float32."""
    return logits.float() if temperature == 1 else logits.float() / temperature


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

    def chunk(states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        logs = F.log_softmax(scaled(head(states), temperature), dim=-1)
        logprobs = -F.nll_loss(logs, tokens, reduction="none")
        with torch.no_grad():  # comes last: when the chunk is recomputed, it is left out
            return logprobs, statistic(logs) if statistic else None

    parts = [(states[part], tokens[part]) for part in chunks(len(tokens), head)]
    recompute = torch.is_grad_enabled() and len(parts) > 1
    found = [checkpoint(chunk, *part, use_reentrant=False) if recompute else chunk(*part) for part in parts]
    logprobs, statistics = zip(*found, strict=True)
    return TokenLogprobs(torch.cat(logprobs), torch.cat(statistics) if statistic else None)


def chunks(count: int, head: LanguageHead) -> list[slice]:
    """Divide `count` tokens into slices whose logits may be in memory at once; no tokens are one empty slice."""
    size = max(1, MAX_LOGITS // head.size)
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]


def backward_in_chunks(
    states: Tensor,
    tokens: Tensor,
    head: LanguageHead,
    temperature: float,
    loss: Callable[[Tensor, slice], Tensor],
) -> None:
    """Add the gradients of a loss that is a sum over tokens, one chunk after the other: logits are computed once.

    `loss` maps the log-probabilities of a slice of `tokens` to their scalar part of the loss. The gradients are those
    of the sum of all parts, in the head's parameters and in everything that `states` [tokens, hidden] depend on. The
    gradient in the logits, d log p(token) / d logit = 1 if the token is this one - p(this one), takes the place of the
    log-probabilities: autograd would make five tensors of their size.
    """

    def gradient_of(part: slice) -> Tensor:
        """Return a chunk's gradient in its states. Its logits are freed before those of the next chunk are made."""
        leaf, own = states[part].detach().requires_grad_(), tokens[part, None]
        logits = head(leaf)
        logs = F.log_softmax(scaled(logits.detach(), temperature), dim=-1)
        logprobs = logs.gather(1, own)[:, 0].requires_grad_()
        (slope,) = torch.autograd.grad(loss(logprobs, part), logprobs)
        slope = slope[:, None] / temperature
        inside = logs.exp_().mul_(-slope).scatter_add_(1, own, slope)
        torch.autograd.backward(logits, inside.to(logits.dtype))
        return cast(Tensor, leaf.grad)

    gradients = [gradient_of(part) for part in chunks(len(tokens), head)]
    torch.autograd.backward(states, torch.cat(gradients))
