"""Draws answers from a policy. Every row has its own random numbers, so its answer does not depend on its batch."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from pipeline.batches import batches_by_length
from pipeline.config.schema import DecodingConfig
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.heads import ids_without_token
from pipeline.modeling.passes import pad_rows
from pipeline.modeling.processes import computed_in_rounds, on_main, rank, share_of
from pipeline.progress import Advance
from pipeline.row_log import RowLog


class SampledAnswer(NamedTuple):
    """An answer as token ids, with its stop token unless it was cut off."""

    ids: list[int]
    stopped: bool


@torch.no_grad()
def draw(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    decoding: DecodingConfig,
    seed: int,
    *,
    batch_tokens: int,
    partial: Path,
    advance: Advance = lambda done: None,
) -> list[SampledAnswer]:
    """Draw one answer for each prompt, in the given order.

    Sampling uses `decoding.temperature` (0 is greedy) and `decoding.top_p`; top_k is off. Ids without a token, which
    fill up a vocabulary, are never drawn. A batch has at most `batch_tokens` tokens, those still to be drawn included.
    Drawn answers are kept in `partial`, one line each, and a resumed run does not draw them again. Several processes
    draw a batch each at a time; all return all answers.
    """
    assert decoding.max_new_tokens is not None
    config, log = _generation_config(model, chat, decoding), RowLog(partial) if rank() == 0 else None
    drawn = {row: SampledAnswer(ids, stopped) for row, ids, stopped in on_main(lambda: log.rows if log else [])}
    advance(len(drawn))
    left = [row for row in range(len(prompts)) if row not in drawn]

    def draw_rows(places: list[int]) -> list[SampledAnswer]:
        rows = [left[place] for place in places]
        draws = RowwiseDraws(decoding, seed, rows) if decoding.temperature else None
        return _draw_batch(model, chat, [prompts[row] for row in rows], config, draws)

    lengths = [len(prompts[row]) + decoding.max_new_tokens for row in left]
    size = share_of(decoding.batch_size or len(left), len(left))
    for new in computed_in_rounds(draw_rows, batches_by_length(lengths, size, tokens=batch_tokens)):
        found = {left[place]: answer for place, answer in new.items()}
        if log:
            log.append(*([row, *answer] for row, answer in found.items()))
        drawn |= found
        advance(len(found))
    return [drawn[row] for row in range(len(prompts))]


class RowwiseDraws(LogitsProcessor):  # type: ignore[misc]
    """Lets a greedy `generate` draw each row's tokens with that row's own random numbers: only the drawn token is left.

    transformers draws a whole batch with one generator, so that a row's answer depends on the rows beside it.
    """

    def __init__(self, decoding: DecodingConfig, seed: int, rows: Sequence[int]) -> None:
        assert decoding.max_new_tokens is not None
        generators = [torch.Generator().manual_seed(random.Random(f"{seed} {row}").getrandbits(63)) for row in rows]
        self.numbers = torch.stack([torch.rand(decoding.max_new_tokens, generator=own) for own in generators])
        self.warpers = [TemperatureLogitsWarper(float(decoding.temperature))]
        self.warpers += [TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1 else []
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores, [rows, vocabulary]: 0 for each row's drawn token, else minus infinity."""
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        tokens = drawn_tokens(scores, self.numbers[:, self.step].to(scores.device))
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def drawn_tokens(logits: Tensor, numbers: Tensor) -> Tensor:
    """Return tokens, [rows], where each row's cumulative distribution passes its random number in [0, 1).

    `logits` are [rows, vocabulary], `numbers` are [rows].
    """
    precise = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = logits.float().softmax(-1).cumsum(-1, dtype=precise)
    wanted = numbers[:, None].to(precise) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def _generation_config(model: Any, chat: ChatFormat, decoding: DecodingConfig) -> GenerationConfig:
    no_tokens = ids_without_token(chat.tokenizer, model.config.get_text_config().vocab_size)
    return GenerationConfig(
        do_sample=False,  # `RowwiseDraws` draws
        max_new_tokens=decoding.max_new_tokens,
        pad_token_id=chat.tokenizer.pad_token_id,
        eos_token_id=chat.stop_id,
        bos_token_id=chat.tokenizer.bos_token_id,
        suppress_tokens=no_tokens or None,
    )


def _draw_batch(
    model: Any, chat: ChatFormat, prompts: Sequence[list[int]], config: GenerationConfig, draws: RowwiseDraws | None
) -> list[SampledAnswer]:
    """Draw answers to prompts padded on the left, greedily without `draws`; cut each after its first stop token."""
    device = next(model.parameters()).device
    ids, attention = (part.to(device) for part in pad_rows(prompts, chat.tokenizer.pad_token_id, left=True))
    given = {"input_ids": ids, "attention_mask": attention, "generation_config": config}
    output = model.generate(**given, logits_processor=[draws] if draws else [])[:, ids.shape[1] :]
    return [_cut_at_stop(answer, chat.stop_id) for answer in output.tolist()]


def _cut_at_stop(answer: list[int], stop_id: int) -> SampledAnswer:
    if stop_id in answer:
        return SampledAnswer(answer[: answer.index(stop_id) + 1], True)
    return SampledAnswer(answer, False)
