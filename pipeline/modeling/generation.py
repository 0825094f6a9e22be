"""Draws answers from a policy, with a seed per batch, so that a resumed run gives the same answers."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from pipeline.batches import batches_by_length
from pipeline.config.schema import DecodingConfig
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.heads import ids_without_token
from pipeline.modeling.passes import pad_rows
from pipeline.modeling.processes import gathered, on_main, rank
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
    partial: Path,
    advance: Advance = lambda done: None,
) -> list[SampledAnswer]:
    """Draw one answer for each prompt, in the given order.

    Sampling uses `decoding.temperature` (0 is greedy) and `decoding.top_p`; top_k is off. Ids without a token, which
    fill up a vocabulary, are never drawn. Finished batches are kept in `partial`, one line each, and a resumed run
    does not draw them again. Several processes draw a batch each at a time; all return all answers.
    """
    config, log = _generation_config(model, chat, decoding), RowLog(partial) if rank() == 0 else None
    batches = batches_by_length([len(prompt) for prompt in prompts], decoding.batch_size)
    rows = on_main(lambda: log.rows[: len(batches)] if log else [])
    drawn = [[SampledAnswer(ids, stopped) for ids, stopped in row] for row in rows]
    advance(sum(map(len, drawn)))
    while len(drawn) < len(batches):
        number, own = len(drawn) + rank(), None
        if number < len(batches):
            torch.manual_seed(random.Random(f"{seed} {number}").getrandbits(63))
            own = _draw_batch(model, chat, [prompts[i] for i in batches[number]], config)
        new = [answers for answers in gathered(own) if answers is not None]
        if log:
            log.append(*new)
        drawn += new
        advance(sum(map(len, new)))
    placed = {
        place: answer
        for batch, answers in zip(batches, drawn, strict=True)
        for place, answer in zip(batch, answers, strict=True)
    }
    return [placed[i] for i in range(len(prompts))]


def _generation_config(model: Any, chat: ChatFormat, decoding: DecodingConfig) -> GenerationConfig:
    sampling = (
        {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if decoding.temperature else {}
    )
    no_tokens = ids_without_token(chat.tokenizer, model.config.get_text_config().vocab_size)
    return GenerationConfig(
        do_sample=bool(sampling),
        max_new_tokens=decoding.max_new_tokens,
        pad_token_id=chat.tokenizer.pad_token_id,
        eos_token_id=chat.stop_id,
        bos_token_id=chat.tokenizer.bos_token_id,
        suppress_tokens=no_tokens or None,
        **sampling,
    )


def _draw_batch(
    model: Any, chat: ChatFormat, prompts: Sequence[list[int]], config: GenerationConfig
) -> list[SampledAnswer]:
    """Draw answers to prompts padded on the left; cut each answer after its first stop token."""
    device = next(model.parameters()).device
    ids, attention = (part.to(device) for part in pad_rows(prompts, chat.tokenizer.pad_token_id, left=True))
    output = model.generate(input_ids=ids, attention_mask=attention, generation_config=config)[:, ids.shape[1] :]
    return [_cut_at_stop(answer, chat.stop_id) for answer in output.tolist()]


def _cut_at_stop(answer: list[int], stop_id: int) -> SampledAnswer:
    if stop_id in answer:
        return SampledAnswer(answer[: answer.index(stop_id) + 1], True)
    return SampledAnswer(answer, False)
