"""Draws answers from a policy. Every row has its own random numbers, so its answer does not depend on its batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from pipeline.batches import batches_by_length
from pipeline.config.nodes.models import DecodingConfig
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.drawing import SampledAnswer, TokenSampler, numbers_of_rows
from pipeline.modeling.heads import LanguageHead, ids_with_token, transformer_of, unwrapped_model
from pipeline.modeling.passes import pad_rows
from pipeline.modeling.processes import computed_in_rounds, on_main, rank, share_of
from pipeline.modeling.sampling import SamplingBatch
from pipeline.progress import Advance
from pipeline.row_log import RowLog


def draw(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    decoding: DecodingConfig,
    seed: int,
    *,
    batch_tokens: int,
    own_cache: bool,
    partial: Path,
    advance: Advance = lambda done: None,
) -> list[SampledAnswer]:
    """Draw one answer for each prompt, in the given order.

    Ids without a token, which fill up a vocabulary, are never drawn. A batch has at most `batch_tokens` tokens, those
    still to be drawn included. With `own_cache` our own sampler draws, which knows the cache of most models
    (`padding.keeps_states`): transformers' `generate` computes rows that have ended to the longest answer's end.
    Drawn answers are kept in `partial`, one line each; a resumed run does not draw them again.
    """
    assert decoding.max_new_tokens is not None
    most, log = decoding.max_new_tokens, RowLog(partial) if rank() == 0 else None
    drawn = _drawn_before(log)
    advance(len(drawn))
    left = [row for row in range(len(prompts)) if row not in drawn]
    sampler = TokenSampler(ids_with_token(chat.tokenizer), decoding.temperature, decoding.top_p)
    draw_batch = sampled if own_cache else generated

    def draw_rows(places: list[int]) -> list[SampledAnswer]:
        rows = [left[place] for place in places]
        return draw_batch(model, chat, [prompts[row] for row in rows], numbers_of_rows(seed, rows, most), sampler)

    size = share_of(decoding.batch_size or len(left), len(left))
    batches = batches_by_length([len(prompts[row]) + most for row in left], size, tokens=batch_tokens)
    for new in computed_in_rounds(draw_rows, batches):
        found = {left[place]: answer for place, answer in new.items()}
        if log:
            log.append(*([row, *answer] for row, answer in found.items()))
        drawn |= found
        advance(len(found))
    return [drawn[row] for row in range(len(prompts))]


def _drawn_before(log: RowLog | None) -> dict[int, SampledAnswer]:
    """Return the answers that an earlier run drew, by row. The main process has the log; every process gets them."""
    return {row: SampledAnswer(ids, stopped) for row, ids, stopped in on_main(lambda: log.rows if log else [])}


def sampled(
    model: Any, chat: ChatFormat, prompts: Sequence[list[int]], numbers: Tensor, sampler: TokenSampler
) -> list[SampledAnswer]:
    """Draw answers to one batch of prompts with our own sampler; `numbers` are [prompts, most tokens of an answer]."""
    head, pad_id = LanguageHead(unwrapped_model(model)), chat.tokenizer.pad_token_id
    return SamplingBatch(transformer_of(model), head, prompts, numbers, sampler, pad_id).sample_answers(chat.stop_id)


@torch.no_grad()
def generated(
    model: Any, chat: ChatFormat, prompts: Sequence[list[int]], numbers: Tensor, sampler: TokenSampler
) -> list[SampledAnswer]:
    """Draw the answers of `sampled` with transformers' `generate`, each cut after its first stop token."""
    device = next(model.parameters()).device
    ids, attention = (part.to(device) for part in pad_rows(prompts, chat.tokenizer.pad_token_id, left=True))
    config = GenerationConfig(
        do_sample=False,  # `_RowwiseDraws` draws
        max_new_tokens=numbers.shape[1],
        pad_token_id=chat.tokenizer.pad_token_id,
        eos_token_id=chat.stop_id,
        bos_token_id=chat.tokenizer.bos_token_id,
    )
    given = {"input_ids": ids, "attention_mask": attention, "generation_config": config}
    output = model.generate(**given, logits_processor=[_RowwiseDraws(sampler.on(device), numbers.to(device))])
    return [_cut_at_stop(answer, chat.stop_id) for answer in output[:, ids.shape[1] :].tolist()]


class _RowwiseDraws(LogitsProcessor):  # type: ignore[misc]
    """Lets a greedy `generate` draw each row's tokens with that row's own random numbers: only the drawn token is left.

    transformers draws a whole batch with one generator, so that a row's answer depends on the rows beside it.
    """

    def __init__(self, sampler: TokenSampler, numbers: Tensor) -> None:
        self.sampler, self.numbers, self.step = sampler, numbers, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores, [rows, vocabulary]: 0 for each row's drawn token, else minus infinity."""
        tokens = self.sampler.tokens(scores, self.numbers[:, self.step])
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def _cut_at_stop(answer: list[int], stop_id: int) -> SampledAnswer:
    if stop_id in answer:
        return SampledAnswer(answer[: answer.index(stop_id) + 1], True)
    return SampledAnswer(answer, False)
