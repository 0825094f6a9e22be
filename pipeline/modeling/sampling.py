"""Samples answers with a cache of its own, without computing beyond their ends.

Rows leave the batch after their stop token, so the cost of a step depends only on the unfinished answers. Every row has
its own random numbers, drawn in advance, so its answer does not depend on the other rows in the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.batches import batches_by_length
from pipeline.modeling.caching import sampling_cache
from pipeline.modeling.drawing import SampledAnswer, TokenSampler
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
    """Sample one answer to each prompt for reinforcement learning, in the given order.

    Without top-k and top-p, sampling uses the same distribution as the log-probabilities (arXiv 2403.17031), except for
    ids without a token: `valid_ids`, [ids] bool from `heads.ids_with_token`, marks the ids that have one.
    """
    sampler = TokenSampler(valid_ids, temperature)
    random_numbers = torch.rand(len(prompts), max_new_tokens, generator=torch.Generator().manual_seed(seed))

    def sample_batch(places: list[int]) -> list[SampledAnswer]:
        batch = SamplingBatch(decoder, head, [prompts[i] for i in places], random_numbers[places], sampler, pad_id)
        return batch.sample_answers(stop_id, drop_finished=drop_finished)

    return computed(sample_batch, batches_by_length([len(prompt) for prompt in prompts], batch_size))


class SamplingBatch:
    """A batch of unfinished answers, with prompts padded on the left.

    `random_numbers` are [prompts, most tokens of an answer]. The cache is one that `padding.check_padding` has tried.
    """

    def __init__(
        self,
        decoder: Any,
        head: LanguageHead,
        prompts: Sequence[list[int]],
        random_numbers: Tensor,
        sampler: TokenSampler,
        pad_id: int,
    ) -> None:
        device = next(decoder.parameters()).device
        self.decoder, self.head, self.sampler = decoder, head, sampler.on(device)
        ids, attention = pad_rows(prompts, pad_id, left=True)
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.rows = torch.arange(len(prompts), device=device)  # the index of the answer in each row of the batch
        self.ids, self.attention = ids.to(device), attention.to(device)
        self.positions = (self.attention.cumsum(1) - self.attention) * self.attention
        self.random_numbers = random_numbers.to(device)
        self.cache, self.cache_argument = sampling_cache(decoder), cache_argument(decoder)
        self.open = torch.ones(len(prompts), dtype=torch.bool, device=device)

    @torch.no_grad()
    def sample_answers(self, stop_id: int, *, drop_finished: bool = True) -> list[SampledAnswer]:
        """Sample one answer to each prompt, cut after the first stop token."""
        for step in range(self.random_numbers.shape[1]):
            tokens = self._next_tokens(step)
            for row, token, is_open in zip(self.rows.tolist(), tokens.tolist(), self.open.tolist(), strict=True):
                if is_open:
                    self.answers[row].append(token)
            self.open &= tokens != stop_id
            left = int(self.open.sum())
            if not left:
                break
            self.ids = tokens[:, None]
            self.positions = self.positions[:, -1:] + 1
            self.attention = torch.cat([self.attention, torch.ones_like(self.attention[:, :1])], 1)
            if drop_finished and left <= MAX_UNFINISHED_SHARE * len(self.open):
                self._drop_finished()
        return [SampledAnswer(ids, ids[-1] == stop_id) for ids in self.answers]

    def _next_tokens(self, step: int) -> Tensor:
        """Return the next tokens, [rows]."""
        output = self.decoder(
            input_ids=self.ids,
            attention_mask=self.attention,
            position_ids=self.positions,
            use_cache=True,
            **{self.cache_argument: self.cache},
        )
        return self.sampler.tokens(self.head(output.last_hidden_state[:, -1]), self.random_numbers[:, step])

    def _drop_finished(self) -> None:
        kept = self.open.nonzero()[:, 0]
        self.cache.reorder_cache(kept)  # selects rows in every kind of layer, also in recurrent ones
        self.rows, self.ids, self.attention = self.rows[kept], self.ids[kept], self.attention[kept]
        self.positions, self.random_numbers, self.open = (
            self.positions[kept],
            self.random_numbers[kept],
            self.open[kept],
        )
