"""Log-probabilities of given answers, without ever holding a [batch, length, vocabulary] tensor of the whole."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.progress import Advance

CHUNK = 256  # answer positions whose logits are in memory at once


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
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt) + len(rows[i].answer))
    sums = [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        values = _batch_logprobs(model, [rows[i] for i in chosen], pad_id, temperature)
        for i, value in zip(chosen, values.tolist(), strict=True):
            sums[i] = value
        advance(len(chosen))
    return sums


def _batch_logprobs(model: Any, rows: Sequence[Answered], pad_id: int, temperature: float) -> Tensor:
    """[rows] sums, float32. Padded on the right: positions count from 0 without further ado."""
    device = next(model.parameters()).device
    width = max(len(row.prompt) + len(row.answer) for row in rows)
    ids = torch.full((len(rows), width), pad_id, device=device)
    attention = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    is_answer = torch.zeros((len(rows), width), dtype=torch.bool, device=device)
    for i, row in enumerate(rows):
        end = len(row.prompt) + len(row.answer)
        ids[i, :end] = torch.tensor(row.prompt + row.answer, device=device)
        attention[i, :end] = 1
        is_answer[i, len(row.prompt) : end] = True
    hidden = _decoder(model)(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
    targets = is_answer[:, 1:]
    states, tokens = hidden[:, :-1][targets], ids[:, 1:][targets]  # [answer tokens, hidden], [answer tokens]
    head = model.get_output_embeddings()
    logprobs = [
        -F.cross_entropy(
            head(states[i : i + CHUNK]).float() / (temperature or 1.0), tokens[i : i + CHUNK], reduction="none"
        )
        for i in range(0, len(tokens), CHUNK)
    ]
    owners = torch.arange(len(rows), device=device)[:, None].expand_as(targets)[targets]
    return torch.zeros(len(rows), device=device).index_add_(0, owners, torch.cat(logprobs))


def _decoder(model: Any) -> Any:
    """The transformer below the language-model head, adapters included."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.get_decoder()
