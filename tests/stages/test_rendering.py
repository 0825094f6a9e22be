"""Conversations to ids and back: the mask, the stop token, and users' tokenizers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.config.nodes.models import DecodingConfig
from pipeline.errors import RequestError, Unrenderable
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.tokenizing import save_tokenizer

with lazily():
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.chat.tokenizers import load_tokenizer
    from pipeline.modeling.generation import draw
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
    from pipeline.modeling.sources import source_of, tokenizer_of

TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "Hello you"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Good bye"},
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer_with(folder: Path, **specials: str) -> str:
    """Save a small BPE tokenizer with exactly these special tokens; return its folder."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    extra = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[*specials.values(), *extra],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["hello there you and now good bye"], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bpe, additional_special_tokens=extra, **specials)
    wrapped.save_pretrained(folder)
    return str(folder)


def test_a_template_is_set_where_there_is_none_and_said(tmp_path: Path) -> None:
    tokenizer, remarks = load_tokenizer(tokenizer_with(tmp_path, eos_token="</s>", unk_token="<unk>", bos_token="<s>"))
    assert any("no chat template" in remark for remark in remarks)
    assert any("<unk>" in remark for remark in remarks)
    assert tokenizer.pad_token == "<unk>"
    ids, mask = ChatFormat(tokenizer).conversation(TURNS)
    assert ids.count(tokenizer.bos_token_id) == 1
    learned = tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert learned == " Hello you</s> Good bye</s>"


def test_pad_is_never_eos(tmp_path: Path) -> None:
    """If pad is EOS, as in many published tokenizers, another token replaces it (trl#1623)."""
    path = tokenizer_with(tmp_path, eos_token="</s>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(path)
    loaded, _ = load_tokenizer(path)
    assert loaded.pad_token_id != loaded.eos_token_id


# family -> special tokens by their roles, other tokens, a template, and the expected pad token
PADDED = {
    "Qwen2.5 base": (
        {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        {"<|im_start|>", "<|im_end|>", "<|box_end|>"},
        CHATML,
        "<|box_end|>",
    ),
    "SmolLM2": (dict.fromkeys(("eos_token", "bos_token", "unk_token"), "<|end|>"), {"<|repo|>"}, None, "<|repo|>"),
    "Falcon": ({"eos_token": "<|endoftext|>"}, {"<|title|>", "<|suffix|>"}, None, "<|suffix|>"),
    "GPT-2": (dict.fromkeys(("eos_token", "bos_token", "unk_token"), "<|endoftext|>"), set(), None, "<|endoftext|>"),
    "Llama 2": ({"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}, set(), None, "<unk>"),
    "Llama 3": (
        {"eos_token": "<|end_of_text|>", "bos_token": "<|begin_of_text|>"},
        {"<|eot_id|>", "<|reserved_special_token_0|>"},
        None,
        "<|reserved_special_token_0|>",
    ),
}


@pytest.mark.parametrize("family", PADDED)
def test_any_tokenizer_can_pad(family: str, tmp_path: Path) -> None:
    """It uses an unused token, or else EOS, since attention masks and labels mark the real tokens."""
    named, others, template, expected = PADDED[family]
    tokenizer, remarks = load_tokenizer(save_tokenizer(tmp_path, template, tokens=others, **named))
    assert tokenizer.pad_token == expected
    assert sum("pad" in remark for remark in remarks) == 1
    ids, mask = ChatFormat(tokenizer).conversation(TURNS)
    assert ids[-1] == ChatFormat(tokenizer).stop_id
    assert mask[-1] == 1
    assert "Hello you" in tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])


MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% else %}{{ m['content'] }}{% endif %}"
    "{% endfor %}"
)


@pytest.mark.parametrize("template", [MISTRAL, CHATML, None], ids=["mistral", "chatml", "plain"])
@pytest.mark.parametrize("pieces", [True, False], ids=["sentence pieces", "bytes"])
def test_pieces_of_a_row_have_the_ids_of_the_whole(pieces: bool, template: str | None, tmp_path: Path) -> None:
    """SentencePiece puts a space before any text; before each piece it would give other tokens."""
    named = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    path = save_tokenizer(tmp_path, template, tokens={"<|im_start|>", "<|im_end|>"}, pieces=pieces, **named)
    tokenizer, _ = load_tokenizer(path)
    chat = ChatFormat(tokenizer)
    ids, mask = chat.conversation(TURNS)
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False)
    joint = tokenizer(whole[: whole.rfind(chat.stop) + len(chat.stop)], add_special_tokens=False)["input_ids"]
    assert ids == joint
    assert chat.lengths([TURNS, TURNS[:3]]) == [len(ids), len(chat.conversation(TURNS[:3]).ids)]
    assert ids == chat.prompt(TURNS[:-1]) + chat.answer(TURNS[:-1], "Good bye")
    learned = tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert learned.split("Good bye")[0].strip() == f"Hello you{chat.stop}"


def test_no_eos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no end-of-sequence token"):
        load_tokenizer(tokenizer_with(tmp_path, unk_token="<unk>"))


def test_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=str(tmp_path)):
        load_tokenizer(str(tmp_path))


def test_the_stop_token_is_the_templates_not_the_tokenizers(tmp_path: Path) -> None:
    """ChatML on a base model: EOS differs from the token that ends a turn (LLaMA-Factory#7943)."""
    path = tokenizer_with(tmp_path, eos_token="</s>", pad_token="<pad>")
    tokenizer, _ = load_tokenizer(path, chat_template=CHATML)
    chat = ChatFormat(tokenizer)
    assert chat.stop == "<|im_end|>"
    ids, mask = chat.conversation(TURNS)
    learned = tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert learned == "Hello you<|im_end|>Good bye<|im_end|>"
    assert ids[-1] == chat.stop_id


@pytest.mark.parametrize("template", [CHATML, None])
def test_a_prompt_in_training_is_the_prompt_at_generation(tmp_path: Path, template: str | None) -> None:
    """The ids before the last answer equal the generation prompt, and the answer's ids follow."""
    path = tokenizer_with(tmp_path, eos_token="</s>", pad_token="<pad>", bos_token="<s>")
    chat = ChatFormat(load_tokenizer(path, chat_template=template)[0])
    ids, _ = chat.conversation(TURNS)
    prompt, answer = chat.prompt(TURNS[:-1]), chat.answer(TURNS[:-1], TURNS[-1]["content"])
    assert ids == prompt + answer
    assert chat.text(answer) == "Good bye"


def test_a_template_that_rewrites_its_prompt_is_refused(tmp_path: Path) -> None:
    path = tokenizer_with(tmp_path, eos_token="</s>", pad_token="<pad>")
    rewriting = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    chat = ChatFormat(load_tokenizer(path, chat_template=rewriting)[0])
    with pytest.raises(Unrenderable, match="chat_template"):
        chat.conversation(TURNS)


Policy = tuple[PreTrainedModel, ChatFormat]


@pytest.fixture(scope="module")
def policy(chain: Chain) -> Policy:
    source = source_of(chain.make("base"))
    tokenizer, _ = tokenizer_of(source)
    return load_policy(source, tokenizer, torch.device("cpu")), ChatFormat(tokenizer)


def rows_of(chat: ChatFormat) -> list[AnsweredPrompt]:
    """Return answers of different lengths to prompts of different lengths."""
    texts = ["Yes.", "Wrap the kettle in wet wool, please.", "No", "Thanks a lot and good bye to you all."]
    prompt = [{"role": "user", "content": "My kettle hums."}]
    return [
        AnsweredPrompt(chat.prompt(prompt * (1 + i % 2)), chat.answer(prompt, text)) for i, text in enumerate(texts)
    ]


def test_batching_and_padding_change_nothing(policy: Policy) -> None:
    model, chat = policy
    rows, expected = rows_of(chat), []
    for row in rows:
        ids = torch.tensor([row.prompt + row.answer])
        logprobs = model(ids).logits[0, :-1].detach().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        expected.append(float(logprobs[len(row.prompt) - 1 :].sum()))
    for size in (1, 2, 4):
        found = answer_logprobs(model, rows, pad_id=chat.tokenizer.pad_token_id, batch_size=size)
        assert found == pytest.approx(expected, rel=1e-4)


def test_another_pad_id_changes_nothing(policy: Policy) -> None:
    model, chat = policy
    found = [answer_logprobs(model, rows_of(chat), pad_id=pad, batch_size=4) for pad in (0, 7)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_drawn_answers_end_with_their_first_stop_token(policy: Policy, tmp_path: Path) -> None:
    model, chat = policy
    prompts = [chat.prompt([{"role": "user", "content": "a " * n}]) for n in (1, 5, 9)] * 8
    given = (model, chat, prompts, DecodingConfig(2.0, 1.0, 40, 5), 0)
    answers = draw(*given, batch_tokens=999, own_cache=True, partial=tmp_path / "partial")
    assert len(answers) == len(prompts)
    assert {answer.stopped for answer in answers} == {True, False}
    for answer in answers:
        assert answer.ids.count(chat.stop_id) == int(answer.stopped)
        assert (answer.ids[-1] == chat.stop_id) == answer.stopped


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (1.5, 0.9)])
def test_answers_depend_neither_on_the_batch_nor_on_the_other_rows(
    policy: Policy, temperature: float, top_p: float, tmp_path: Path
) -> None:
    model, chat = policy
    prompts = [chat.prompt([{"role": "user", "content": "the " * n}]) for n in (6, 1, 5, 2, 4, 3)]

    def drawn(rows: int, budget: int, size: int | None = None) -> list[Any]:
        decoding, partial = DecodingConfig(temperature, top_p, 12, size), tmp_path / f"{rows} {budget} {size}"
        return draw(model, chat, prompts[:rows], decoding, 0, batch_tokens=budget, own_cache=True, partial=partial)

    whole = drawn(6, 10**6)
    assert drawn(6, 1) == drawn(6, 10**6, 4) == drawn(6, 50) == whole
    assert drawn(3, 10**6) == whole[:3]


def test_answers_follow_the_models_own_distribution(policy: Policy, tmp_path: Path) -> None:
    """Many first tokens of one prompt, at a temperature and with top_p: shares as in the distribution cut by hand."""
    model, chat = policy
    prompt, count = chat.prompt([{"role": "user", "content": "the"}]), 2000
    decoding = DecodingConfig(0.8, 0.7, 1)
    found = draw(
        model, chat, [prompt] * count, decoding, 0, batch_tokens=10**6, own_cache=True, partial=tmp_path / "partial"
    )
    with torch.no_grad():
        shares = (model(torch.tensor([prompt])).logits[0, -1, : len(chat.tokenizer)].float() / 0.8).softmax(-1)
    ordered, ids = shares.sort(descending=True)
    kept = ids[ordered.cumsum(0) - ordered < 0.7]
    seen = torch.bincount(torch.tensor([answer.ids[0] for answer in found]), minlength=len(shares)) / count
    assert set(seen.nonzero()[:, 0].tolist()) <= set(kept.tolist())
    expected = torch.zeros_like(shares).index_copy(0, kept, shares[kept] / shares[kept].sum())
    assert float((seen - expected).abs().sum()) < 2 * (2 * len(kept) / (math.pi * count)) ** 0.5
