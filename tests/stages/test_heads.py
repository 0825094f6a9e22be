"""Log-probabilities equal the model's own, over its whole head, for architectures that change their logits too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.models import DecodingConfig
from pipeline.errors import RequestError
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.fused import use_whole_head
    from pipeline.modeling.generation import draw
    from pipeline.modeling.heads import LanguageHead, check_head, ids_with_token, transformer_of
    from pipeline.modeling.passes import batch_of
    from pipeline.modeling.roles import Role, Roles
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs

IDS = [[10, 20, 30, 40, 50, 11], [12, 13, 14], [15, 33, 16, 17, 18]]
ANY = pytest.mark.parametrize("name", tiny.CONFIGS)
NOT_PLAIN = [name for name in tiny.CONFIGS if name not in tiny.PLAIN]


def own_logprobs(model: Any, row: list[int]) -> torch.Tensor:
    """Return log-probabilities, [tokens - 1], of a single row, from the model's own logits."""
    logits = model(input_ids=torch.tensor([row])).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(row[1:])[:, None])[:, 0]


@ANY
def test_the_head_gives_the_models_own_logits(name: str) -> None:
    model, ids = tiny.model(name), torch.tensor(IDS[:1])
    states = transformer_of(model)(input_ids=ids).last_hidden_state
    assert torch.equal(LanguageHead(model)(states), model(input_ids=ids).logits)
    check_head(model, IDS[0], name)


@ANY
def test_answers_score_as_the_model_itself_finds_them(name: str) -> None:
    """In a padded batch and in chunks, as in DPO's reference, evaluate's KL and PPO; compared with single rows."""
    model = tiny.model(name)
    found = answer_logprobs(model, [AnsweredPrompt(ids[:2], ids[2:]) for ids in IDS], pad_id=1, batch_size=2)
    assert found == pytest.approx([float(own_logprobs(model, ids)[1:].sum()) for ids in IDS], abs=1e-4)


@ANY
def test_trl_sees_the_same_log_probabilities(name: str) -> None:
    """SFT's and DPO's `fused_lm_head=True`, with a gradient through all changes to the logits."""
    model = tiny.model(name)
    use_whole_head(model)
    width = max(map(len, IDS))
    ids = torch.tensor([row + [1] * (width - len(row)) for row in IDS])
    attention = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in IDS])
    labels = ids.masked_fill(attention == 0, -100)
    found = model(input_ids=ids, attention_mask=attention, labels=labels, fused_lm_head=True).log_probs
    expected = [own_logprobs(model, row) for row in IDS]
    for row, values in zip(found, expected, strict=True):
        assert torch.allclose(row[: len(values)], values, atol=1e-4)
        assert not row[len(values) :].any()
    head = next(p for p in model.parameters() if p.requires_grad)
    gradients = [torch.autograd.grad(torch.cat(parts).sum(), head)[0] for parts in ([*found], expected)]
    assert torch.allclose(*gradients, atol=1e-3, rtol=1e-3)


def test_kl_is_one_figure_in_ppo_dpo_and_evaluate_also_where_rows_are_no_tokens() -> None:
    """Rows that only fill up a vocabulary count, as in the model's own loss: one definition for all."""
    policy, reference = tiny.model("llama", vocab_size=80), tiny.model("llama", vocab_size=80)
    with torch.no_grad():
        policy.get_output_embeddings().weight[64:] += 0.5
    split = [AnsweredPrompt(ids[:1], ids[1:]) for ids in IDS]
    sums = [answer_logprobs(model, split, pad_id=1, batch_size=2) for model in (policy, reference)]
    evaluated = torch.tensor(sums[0]) - torch.tensor(sums[1])
    found = [fused_sums(model) for model in (policy, reference)]
    assert torch.allclose(found[0] - found[1], evaluated, atol=1e-5)
    roles = [Role(transformer_of(model), LanguageHead(model)) for model in (policy, reference)]
    batch = batch_of([row.prompt for row in split], [row.answer for row in split], 1, torch.device("cpu"))
    of_tokens = [Roles.logprobs(None, role, batch, 1.0).logprobs for role in roles]  # type: ignore[arg-type]
    assert torch.allclose(batch.aligned(of_tokens[0] - of_tokens[1]).sum(1), evaluated, atol=1e-5)
    known = [tokens_alone(model) for model in (policy, reference)]
    assert ((known[0] - known[1]) - evaluated).abs().min() > 0.01  # the other definition would give another value


def fused_sums(model: Any) -> torch.Tensor:
    """Return TRL's log-probability of all but the first token of each row, [rows]."""
    use_whole_head(model)
    return torch.stack(
        [model(torch.tensor([ids]), labels=torch.tensor([ids]), fused_lm_head=True).log_probs.sum() for ids in IDS]
    )


def tokens_alone(model: Any) -> torch.Tensor:
    """Return the same over the tokenizer's 64 tokens, [rows]."""
    logits = [model(torch.tensor([ids])).logits[0, :-1, :64].float().log_softmax(-1) for ids in IDS]
    return torch.stack(
        [one.gather(1, torch.tensor(ids[1:])[:, None]).sum() for one, ids in zip(logits, IDS, strict=True)]
    )


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_cap_or_scale_is_refused(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If only the linear layer were applied, as in an earlier version, such models would be refused."""
    model = tiny.model(name).to(getattr(torch, dtype))
    check_head(model, IDS[0], "the model")
    monkeypatch.setattr(LanguageHead._real(), "__call__", lambda self, states: bare(self.causal, states))
    with pytest.raises(RequestError, match=r"the model: log-probabilities cannot be computed for \w+: logits"):
        check_head(model, IDS[0], "the model")


def bare(model: Any, states: torch.Tensor) -> torch.Tensor:
    head = model.get_output_embeddings()
    return head(states) if head is not None else model.decoder(states)


@pytest.mark.parametrize("name", tiny.PLAIN)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bare_head_passes_where_there_is_no_more(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageHead._real(), "__call__", lambda self, states: bare(self.causal, states))
    check_head(tiny.model(name).to(getattr(torch, dtype)), IDS[0], name)


def test_logits_of_more_than_the_last_state_are_refused() -> None:
    """A model with a head that also reads the tokens cannot be divided: one message, no wrong numbers."""

    def forward(self: Any, input_ids: Any = None, inputs_embeds: Any = None, **given: Any) -> Any:
        output = LlamaForCausalLM.forward(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **given)
        if input_ids is not None:
            output.logits = output.logits + input_ids[..., None] / 10
        return output

    model = tiny.model("llama")
    model.__class__ = type("Peeking", (type(model),), {"forward": forward})
    with pytest.raises(RequestError, match="Peeking: logits made from its transformer's states differ"):
        check_head(model, IDS[0], "some/model")


def test_damaged_weights_are_refused() -> None:
    model = tiny.model("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 4] = torch.nan
    with pytest.raises(RequestError, match="some/model: it gives logits that are not finite"):
        check_head(model, IDS[0], "some/model")


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_adapters_on_the_head_take_part(name: str) -> None:
    """TRL's head reads only the base weight; here an adapter on `lm_head` counts, in training and scoring."""
    torch.manual_seed(1)
    model = get_peft_model(tiny.model(name, tie_word_embeddings=False), LoraConfig(target_modules=["lm_head"]))
    ids = IDS[0]
    before = own_logprobs(model, ids)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    expected = own_logprobs(model, ids)
    assert (expected - before).abs().max() > 0.1
    check_head(model, ids, name)
    (found,) = answer_logprobs(model, [AnsweredPrompt(ids[:1], ids[1:])], pad_id=1, batch_size=1)
    assert found == pytest.approx(float(expected.sum()), abs=1e-4)
    use_whole_head(model)
    given = torch.tensor([ids])
    assert torch.allclose(model(given, labels=given, fused_lm_head=True).log_probs[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "falcon_h1", "modernbert_decoder"])
def test_a_head_alone_has_no_transformer_and_the_same_logits(name: str) -> None:
    model = tiny.model(name, tie_word_embeddings=True)
    states = torch.randn(5, 32)
    expected = LanguageHead(model)(states)
    alone = LanguageHead(model).without_transformer(torch.device("cpu"))
    assert torch.equal(alone(states), expected)
    held = [p for p in alone.causal.parameters() if p.device.type != "meta"]
    assert sum(p.numel() for p in held) <= 64 * 32 + 32 * 32 + 3 * 64  # the vocabulary, and at most one more layer


def test_known_ids_have_the_gaps_that_the_tokenizer_has() -> None:
    """Added tokens can have much larger ids than the others: the ids between have no token."""
    words = tiny.tokenizer()
    assert ids_with_token(words).tolist() == [True] * 64
    backend = words.backend_tokenizer
    vocabulary = {**backend.get_vocab(), "<end>": 70}
    backend.model = type(backend.model)(vocabulary, unk_token="<unk>")
    known = ids_with_token(words)
    assert len(known) == 71
    assert known.nonzero()[:, 0].tolist() == [*range(64), 70]


def test_answers_for_people_hold_no_ids_that_are_no_tokens(tmp_path: Path) -> None:
    """Even if they are likely: a decoder would show nothing for them, and another model could not read them."""
    model, chat = tiny.model("llama", vocab_size=80), ChatFormat(tiny.tokenizer())
    with torch.no_grad():
        model.get_output_embeddings().weight[60:] *= 10
    decoding = DecodingConfig(1.0, 1.0, 12, 16)
    given = (model, chat, [[10 + i] for i in range(16)], decoding, 0)
    answers = draw(*given, batch_tokens=999, own_cache=True, partial=tmp_path / "partial")
    assert 60 <= max(token for answer in answers for token in answer.ids) < 64
