"""Samples answers for reinforcement learning from the whole distribution, without computing beyond their ends.

Rows leave the batch after their stop token, so the cost of a step depends only on the unfinished answers. Every row has
its own random numbers, drawn in advance, so its answer does not depend on the other rows in the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pipeline.batches import batches_by_length
from pipeline.modeling.generation import SampledAnswer, drawn_tokens
from pipeline.modeling.heads import LanguageHead
from pipeline.modeling.passes import cache_argument, pad_rows
from pipeline.modeling.processes import computed

MAX_UNFINISHED_SHARE = 0.75  # finished rows are dropped when at most this share of the batch is unfinished


@torch.no_grad()
def sample(
    decoder: Any,
    head: LanguageHead,
    prompts: Sequence[list[int]],
    *,
    valid_ids: Tensor,
    pad_id: int,
    stop_id: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int,
    drop_finished: bool = True,
) -> list[SampledAnswer]:
    """Sample one answer to each prompt, in the given order, cut after the first stop token.

    Without top-k and top-p, sampling uses the same distribution as the log-probabilities (arXiv 2403.17031), except for
    ids without a token: `valid_ids`, [ids] bool from `heads.ids_with_token`, marks the ids that have one.
    """
    random_numbers = torch.rand(len(prompts), max_new_tokens, generator=torch.Generator().manual_seed(seed))

    def sample_batch(places: list[int]) -> list[SampledAnswer]:
        chosen = [prompts[i] for i in places]
        batch = _SamplingBatch(decoder, head, chosen, random_numbers[places], valid_ids, pad_id, stop_id, temperature)
        return batch.sample_answers(max_new_tokens, drop_finished)

    return computed(sample_batch, batches_by_length([len(prompt) for prompt in prompts], batch_size))


class _SamplingBatch:
    """A batch of unfinished answers, with prompts padded on the left."""

    def __init__(
        self,
        decoder: Any,
        head: LanguageHead,
        prompts: Sequence[list[int]],
        random_numbers: Tensor,
        valid_ids: Tensor,
        pad_id: int,
        stop_id: int,
        temperature: float,
    ) -> None:
        self.decoder, self.head, self.stop_id, self.temperature = decoder, head, stop_id, temperature
        device = next(decoder.parameters()).device
        ids, attention = pad_rows(prompts, pad_id, left=True)
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.rows = torch.arange(len(prompts), device=device)  # the index of the answer in each row of the batch
        self.ids, self.attention = ids.to(device), attention.to(device)
        self.positions = (self.attention.cumsum(1) - self.attention) * self.attention
        self.random_numbers, self.valid_ids = random_numbers.to(device), valid_ids.to(device)
        self.cache, self.cache_argument = DynamicCache(config=decoder.config), cache_argument(decoder)
        self.open = torch.ones(len(prompts), dtype=torch.bool, device=device)

    def sample_answers(self, max_new_tokens: int, drop_finished: bool) -> list[SampledAnswer]:
        for step in range(max_new_tokens):
            tokens = self._next_tokens(step)
            for row, token, is_open in zip(self.rows.tolist(), tokens.tolist(), self.open.tolist(), strict=True):
                if is_open:
                    self.answers[row].append(token)
            self.open &= tokens != self.stop_id
            left = int(self.open.sum())
            if not left:
                break
            self.ids = tokens[:, None]
            self.positions = self.positions[:, -1:] + 1
            self.attention = torch.cat([self.attention, torch.ones_like(self.attention[:, :1])], 1)
            if drop_finished and left <= MAX_UNFINISHED_SHARE * len(self.open):
                self._drop_finished()
        return [SampledAnswer(ids, ids[-1] == self.stop_id) for ids in self.answers]

    def _next_tokens(self, step: int) -> Tensor:
        """Return the next tokens, [rows], by inverting each row's cumulative distribution at its random number."""
        output = self.decoder(
            input_ids=self.ids,
            attention_mask=self.attention,
            position_ids=self.positions,
            use_cache=True,
            **{self.cache_argument: self.cache},
        )
        logits = self.head(output.last_hidden_state[:, -1])[:, : len(self.valid_ids)].float() / self.temperature
        logits = logits.masked_fill(~self.valid_ids[: logits.shape[1]], -torch.inf)
        return drawn_tokens(logits, self.random_numbers[:, step])

    def _drop_finished(self) -> None:
        kept = self.open.nonzero()[:, 0]
        self.cache.reorder_cache(kept)  # selects rows in every kind of layer, also in recurrent ones
        self.rows, self.ids, self.attention = self.rows[kept], self.ids[kept], self.attention[kept]
        self.positions, self.random_numbers, self.open = (
            self.positions[kept],
            self.random_numbers[kept],
            self.open[kept],
        )
