"""PPO's passes and sampling: padding, chunks, batches and finished rows do not change the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest

from tests.lazily import lazily

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

    from pipeline.modeling import sampling
    from pipeline.modeling.drawing import SampledAnswer, draw_tokens
    from pipeline.modeling.heads import LanguageHead
    from pipeline.modeling.passes import (
        answer_states,
        backward_in_chunks,
        batch_of,
        entropy,
        last_states,
        pass_cost,
        token_logprobs,
    )

WORDS, PAD, STOP = 31, 0, 2


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, max_position_embeddings=64, **size)).eval()


def gpt2() -> PreTrainedModel:
    """A model with absolute positions, which shows every wrong position id."""
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, initializer_range=0.5, **size)).eval()


MODELS = pytest.mark.parametrize("build", [llama, gpt2])
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]
ANSWERS = [[20, 21, STOP], [22, 23, 24, 25, STOP], [26], [27, STOP]]


def logprobs(model: Any, rows: Sequence[int], *, pad: int = PAD, temperature: float = 1.0) -> list[list[float]]:
    batch = batch_of([PROMPTS[i] for i in rows], [ANSWERS[i] for i in rows], pad, torch.device("cpu"))
    found = token_logprobs(answer_states(model.base_model, batch), batch.tokens, LanguageHead(model), temperature)
    table = batch.aligned(found.logprobs)
    return [table[k, : len(ANSWERS[i])].tolist() for k, i in enumerate(rows)]


@MODELS
def test_padded_and_unpadded_logprobs_agree(build: Any) -> None:
    """Rule 3 (H, T): positions count from each row's first real token. Compared with the model's own logits."""
    model = build()
    together = logprobs(model, range(4))
    for i, values in enumerate(together):
        logits = model(torch.tensor([PROMPTS[i] + ANSWERS[i]])).logits[0, len(PROMPTS[i]) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ANSWERS[i])[:, None])[:, 0]
        assert values == pytest.approx(expected.tolist(), abs=1e-5)


@MODELS
def test_another_pad_token_changes_nothing(build: Any) -> None:
    """Rule 1 (S): also with EOS as padding; the stop token keeps its log-probability."""
    model = build()
    assert (
        logprobs(model, range(4), pad=PAD) == logprobs(model, range(4), pad=STOP) == logprobs(model, range(4), pad=30)
    )


def test_the_temperature_divides_the_logits() -> None:
    """Rule 10 (H, S, T)."""
    model = llama()
    logits = model(torch.tensor([PROMPTS[0] + ANSWERS[0]])).logits[0, 2:-1] / 0.7
    expected = logits.log_softmax(-1).gather(1, torch.tensor(ANSWERS[0])[:, None])[:, 0]
    assert logprobs(model, [0], temperature=0.7)[0] == pytest.approx(expected.tolist(), abs=1e-5)


def test_chunks_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits for a few positions at a time, recomputed in the backward pass, give the same results."""
    results = []
    for size in (2**23, WORDS * 2):
        monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", size)
        model = llama()
        batch = batch_of(PROMPTS, ANSWERS, PAD, torch.device("cpu"))
        states = answer_states(model.base_model, batch)
        found = token_logprobs(states, batch.tokens, LanguageHead(model), statistic=entropy)
        found.logprobs.sum().backward()
        results.append((found, {name: p.grad for name, p in model.named_parameters()}))
    (whole, gradients), (chunked, others) = results
    assert torch.allclose(whole.logprobs, chunked.logprobs, atol=1e-6)
    assert whole.statistic is not None
    assert torch.allclose(whole.statistic, chunked.statistic, atol=1e-6)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, others[name], atol=1e-5), name


def test_no_whole_logits_are_ever_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head never gets more positions than a chunk, in both passes."""
    monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", WORDS * 3)
    model, seen = llama(), []
    model.get_output_embeddings().register_forward_hook(lambda *given: seen.append(given[2].numel()))
    batch = batch_of(PROMPTS, ANSWERS, PAD, torch.device("cpu"))
    states = answer_states(model.base_model, batch)
    token_logprobs(states, batch.tokens, LanguageHead(model)).logprobs.sum().backward()
    assert max(seen) == WORDS * 3


@MODELS
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("head_trains", [False, True])
def test_a_loss_taken_chunk_by_chunk_has_the_gradients_of_the_whole(
    build: Any, half: bool, head_trains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 16: tokens weigh differently, and the head gets no position twice."""
    results = []
    weights = torch.arange(1.0, sum(map(len, ANSWERS)) + 1)

    def loss(found: torch.Tensor, chunk: slice) -> torch.Tensor:
        return (found.exp() * weights[chunk]).sum()

    for chunked in (False, True):
        monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", WORDS * 3 if chunked else 2**23)
        model, seen = build(), []
        model.get_output_embeddings().weight.requires_grad_(head_trains)
        model.get_output_embeddings().register_forward_hook(lambda *given, seen=seen: seen.append(given[2].numel()))
        batch = batch_of(PROMPTS, ANSWERS, PAD, torch.device("cpu"))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            states, head = answer_states(model.base_model, batch), LanguageHead(model)
            if chunked:
                backward_in_chunks(states, batch.tokens, head, 0.7, loss)
                assert sum(seen) == WORDS * len(batch.tokens)
                assert max(seen) == WORDS * 3
            else:
                found = token_logprobs(states, batch.tokens, head, 0.7).logprobs
                torch.autograd.backward(loss(found, slice(None)))
        results.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in results[0].items():
        limit = (2e-2 if half else 1e-5) * float(gradient.abs().max())
        assert torch.allclose(gradient, results[1][name], rtol=0, atol=limit), name


def test_a_recomputed_chunk_does_not_take_its_statistic_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.modeling.passes.MAX_LOGITS", WORDS * 3)
    model, taken = llama(), []
    batch = batch_of(PROMPTS, ANSWERS, PAD, torch.device("cpu"))

    def counted(logs: torch.Tensor) -> torch.Tensor:
        taken.append(len(logs))
        return entropy(logs)

    states = answer_states(model.base_model, batch)
    token_logprobs(states, batch.tokens, LanguageHead(model), statistic=counted).logprobs.sum().backward()
    assert sum(taken) == len(batch.tokens)


def test_entropy_is_that_of_the_whole_distribution() -> None:
    model = llama()
    batch = batch_of(PROMPTS, ANSWERS, PAD, torch.device("cpu"))
    with torch.no_grad():
        torch.nn.init.zeros_(model.get_output_embeddings().weight)
    states = answer_states(model.base_model, batch)
    found = token_logprobs(states, batch.tokens, LanguageHead(model), statistic=entropy)
    assert found.statistic is not None
    assert found.statistic.tolist() == pytest.approx([math.log(WORDS)] * len(batch.tokens), abs=1e-5)


def test_the_last_state_is_found_by_index() -> None:
    """Rule 2 (S; trl#2778): at the last real token, also if that token equals the pad token."""
    model = llama()
    answers = [[20, PAD], [22, 23, 24], [26, PAD, PAD], [27]]
    batch = batch_of(PROMPTS, answers, PAD, torch.device("cpu"))
    found = last_states(model.base_model, batch)
    for i in range(4):
        alone = model.base_model(torch.tensor([PROMPTS[i] + answers[i]])).last_hidden_state[0, -1]
        assert torch.allclose(found[i], alone, atol=1e-5)


def test_a_pass_costs_fewer_tokens_in_a_wider_model_whose_tokens_cost_more() -> None:
    """Embeddings do not count: a token looks one up. Adapters, heads and wrappers change next to nothing."""
    narrow, wide = llama(), LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, hidden_size=512, num_hidden_layers=2))
    many_words = LlamaForCausalLM(LlamaConfig(vocab_size=9999, hidden_size=512, num_hidden_layers=2))
    cost = pass_cost(wide.base_model)
    assert 0 < cost < pass_cost(narrow.base_model)
    assert pass_cost(many_words.base_model) == cost
    adapted = get_peft_model(wide, LoraConfig(r=2, target_modules="all-linear"))
    assert pass_cost(adapted) == pytest.approx(cost, abs=1)


# -- sampling --------------------------------------------------------------------------------------------------------


def drawn(model: Any, prompts: Sequence[list[int]], **changes: Any) -> list[SampledAnswer]:
    options = {"pad_id": PAD, "stop_id": STOP, "max_new_tokens": 12, "temperature": 1.0, "seed": 0, "batch_size": 64}
    options["valid_ids"] = torch.ones(WORDS, dtype=torch.bool)
    return sampling.sample(model.base_model, LanguageHead(model), prompts, **{**options, **changes})


MANY = [[5 + i % 7] * (1 + i % 5) for i in range(48)]


@MODELS
def test_finished_rows_that_leave_change_no_answer(build: Any) -> None:
    """Dropping them only saves work, and so does another division into batches."""
    model = build()
    kept = drawn(model, MANY, drop_finished=False)
    assert drawn(model, MANY) == kept
    assert drawn(model, MANY, batch_size=7) == kept
    assert len({len(answer.ids) for answer in kept}) > 3


def test_finished_rows_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generation does not run all rows to the longest answer (a complaint of trl's users)."""
    model, rows = llama(), []
    model.base_model.register_forward_pre_hook(lambda *given: rows.append(len(given[2]["input_ids"])), with_kwargs=True)
    answers = drawn(model, MANY, stop_id=20, max_new_tokens=40)
    needed = sum(len(answer.ids) for answer in answers)
    assert needed <= sum(rows) < 0.75 * 40 * len(MANY)
    assert sum(rows) <= needed / sampling.MAX_UNFINISHED_SHARE + len(MANY)


def test_answers_end_with_the_first_stop_token() -> None:
    """Rules 11, 12 (S, T): the stop id is the configured one, not the tokenizer's EOS."""
    for stop in (STOP, 17):
        for answer in drawn(llama(), MANY, stop_id=stop):
            assert (stop in answer.ids) == answer.stopped
            assert stop not in answer.ids[:-1]
            assert len(answer.ids) == 12 or answer.stopped


def test_sampling_follows_the_whole_distribution() -> None:
    """Rule 10: top_k 0, top_p 1: the first token has the model's probabilities at the sampling temperature."""
    model, count = gpt2(), 6000
    answers = drawn(model, [[5, 6]] * count, max_new_tokens=1, temperature=1.3, batch_size=count)
    seen = torch.bincount(torch.tensor([answer.ids[0] for answer in answers]), minlength=WORDS) / count
    expected = (model(torch.tensor([[5, 6]])).logits[0, -1] / 1.3).softmax(-1)
    error = (expected * (1 - expected) / count).sqrt()
    assert ((seen - expected).abs() < 5 * error + 1e-9).all()


@pytest.mark.parametrize("words", [1, 31, 256, 257, 1000])
def test_a_token_is_where_the_cumulative_distribution_reaches_its_random_number(words: int) -> None:
    """Compared with the sum over the whole vocabulary in float64, also at both ends; never a token without a chance."""
    torch.manual_seed(words)
    logits = 3 * torch.randn(400, words)
    logits[:, 1::3] = -torch.inf
    probabilities, numbers = logits.softmax(-1), torch.rand(400)
    numbers[:2] = torch.tensor([0.0, 1 - 2**-24])
    found = draw_tokens(probabilities, numbers)
    reached = [
        next(i for i, total in enumerate(accumulate(row)) if total > number * sum(row))
        for row, number in zip(probabilities.double().tolist(), numbers.double().tolist(), strict=True)
    ]
    assert found.tolist() == reached
    assert probabilities.gather(1, found[:, None]).min() > 0


@MODELS
def test_a_cache_that_grows_in_place_changes_no_answer(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with transformers' own, while rows leave and the cache grows several times."""
    model, found = build(), []
    for growth in (1, 5, None):
        monkeypatch.setattr("pipeline.modeling.caching.GROWTH", growth)
        if growth is None:
            own = "pipeline.modeling.sampling.sampling_cache"
            monkeypatch.setattr(own, lambda decoder: DynamicCache(config=decoder.config))
        found.append(drawn(model, MANY, max_new_tokens=40, batch_size=24))
    assert found[0] == found[1] == found[2]
    assert len({len(answer.ids) for answer in found[0]}) > 3


def test_the_same_seed_draws_the_same_answers_and_another_one_others() -> None:
    model = llama()
    assert drawn(model, MANY, seed=1) == drawn(model, MANY, seed=1)
    assert drawn(model, MANY, seed=1) != drawn(model, MANY, seed=2)


def test_ids_that_are_no_tokens_are_never_drawn() -> None:
    """Not those that fill up the vocabulary, even if likely, nor those in a gap; a token beyond the gap is drawn."""
    model = llama()
    with torch.no_grad():
        model.get_output_embeddings().weight[20:] *= 100
    valid_ids = torch.ones(28, dtype=torch.bool)
    valid_ids[20:27] = False
    answers = drawn(model, MANY, valid_ids=valid_ids, stop_id=27)
    seen = {token for answer in answers for token in answer.ids}
    assert seen <= {*range(20), 27}
    assert 27 in seen
    assert any(answer.stopped for answer in answers)
