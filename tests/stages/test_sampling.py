"""Our own sampler gives what transformers' `generate` gives, for every architecture whose cache it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.models import DecodingConfig
from tests.lazily import lazily
from tests.stages import tiny
from tests.stages.architectures import build

with lazily():
    import torch

    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.drawing import SampledAnswer, TokenSampler, numbers_of_rows
    from pipeline.modeling.generation import generated, sampled
    from pipeline.modeling.heads import ids_with_token, transformer_of
    from pipeline.modeling.padding import keeps_states
    from pipeline.modeling.passes import pad_rows
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs

PAD, STOP, MOST = 1, 2, 24  # longer than the sliding windows of 8
PROMPTS = [[4 + (7 * i + j) % 60 for j in range(1 + 3 * i % 11)] for i in range(9)]
ELSEWHERE = ("recurrent_gemma",)  # architectures that keep their state outside the cache


def drawn_by_us(model: Any, temperature: float, top_p: float = 1.0) -> list[SampledAnswer]:
    sampler = TokenSampler(ids_with_token(tiny.tokenizer()), temperature, top_p)
    numbers = numbers_of_rows(0, range(len(PROMPTS)), MOST)
    return sampled(model, ChatFormat(tiny.tokenizer()), PROMPTS, numbers, sampler)


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if name not in ELSEWHERE])
def test_answers_and_log_probabilities_are_those_of_generate(name: str) -> None:
    """Greedy answers against `generate` as it is, drawn ones against it with the same random numbers."""
    model = tiny.model(name)
    assert keeps_states(transformer_of(model), PAD, cached=True)
    ids, attention = pad_rows(PROMPTS, PAD, left=True)
    options = {"max_new_tokens": MOST, "pad_token_id": PAD, "eos_token_id": STOP, "do_sample": False}
    given = {"input_ids": ids, "attention_mask": attention, **options}
    found = model.generate(**given, return_dict_in_generate=True, output_logits=True)
    greedy = drawn_by_us(model, 0.0)
    whole = found.sequences[:, ids.shape[1] :].tolist()
    written = [row[: len(answer.ids)] for row, answer in zip(whole, greedy, strict=True)]
    assert [answer.ids for answer in greedy] == written
    logs = torch.stack(found.logits, 1).float().log_softmax(-1)
    sums = [float(row[range(len(answer.ids)), answer.ids].sum()) for row, answer in zip(logs, greedy, strict=True)]
    rows = [AnsweredPrompt(prompt, answer.ids) for prompt, answer in zip(PROMPTS, greedy, strict=True)]
    assert answer_logprobs(model, rows, pad_id=PAD, batch_size=4) == pytest.approx(sums, abs=2e-3)

    chat, numbers = ChatFormat(tiny.tokenizer()), numbers_of_rows(0, range(len(PROMPTS)), MOST)
    ends = set()
    for temperature, top_p in ((1.0, 1.0), (1.0, 0.8), (50.0, 1.0)):
        sampler = TokenSampler(ids_with_token(chat.tokenizer), temperature, top_p)
        drawn = drawn_by_us(model, temperature, top_p)
        assert drawn == generated(model, chat, PROMPTS, numbers, sampler)
        assert drawn != greedy
        ends |= {answer.stopped for answer in drawn}
    assert ends == {True, False}, "rows leave the batch"


def test_a_policy_whose_cache_is_not_known_is_drawn_from_by_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mamba keeps its state elsewhere."""
    used: list[str] = []
    for name, draws in (("sampled", sampled._real()), ("generated", generated._real())):

        def recorded(*given: Any, name: str = name, draws: Any = draws) -> list[SampledAnswer]:
            used.append(name)
            return draws(*given)

        monkeypatch.setattr(f"pipeline.modeling.generation.{name}", recorded)
    for name in ("llama", "mamba"):
        answerer = Answerer(build(name, tmp_path / name), tiny.context(tmp_path), 0)
        prompts = [[{"role": "user", "content": "My kettle hums. " * n}] for n in (1, 2, 3)]
        answers = answerer.draw(prompts, DecodingConfig(1.0, 1.0, 12), f"draw {name}")
        assert len(answers) == len(prompts)
    assert used == ["sampled", "generated"]
    assert not keeps_states(transformer_of(tiny.model(ELSEWHERE[0])), PAD, cached=True)
