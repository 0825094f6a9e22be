"""Chat templates of published models: what is learned, where generation begins and ends, and what others render."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RequestError, Unrenderable
from pipeline.model_files.templates import template_fault
from tests.lazily import lazily
from tests.tokenizing import control_tokens, save_tokenizer, trl_templates

with lazily():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.chat.tokenizers import load_tokenizer

ASKED, ANSWERED = {"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hello you"}
ASKED_AGAIN, ANSWERED_AGAIN = {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Good bye"}
TURNS = [ASKED, ANSWERED, ASKED_AGAIN, ANSWERED_AGAIN]

TRL = trl_templates()
# written by hand after reading each template; the longest name that a template's name begins with counts
ENDINGS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<turn|>",
    "gemma": "<end_of_turn>",
    "gemma4": "<turn|>",
    "glm4moe": "<eos>",  # its turns have no end of their own
    "glm4moe_training": "<|user|>",
    "gptoss": "<|return|>",
    "idefics3": "<end_of_utterance>",
    "lfm2": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llava_next": "</s>",
    "muse_glimmer": "<|eot|>",
    "nemotron": "<|im_end|>",
    "phi3": "<|end|>",
    "qwen": "<|im_end|>",
    "smolvlm": "<end_of_utterance>",
}
OTHERS = {  # other shapes that models are published with: (template, ending)
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
        "{{ ' ' + m['content'] + eos_token }}{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}",
        "<eos>",
    ),
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_end|>",
    ),
    "zephyr": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + eos_token }}"
        "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' + m.content + eos_token }}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '\n<|assistant|>' }}{% endif %}{% endfor %}",
        None,  # its prompt and its answers differ by a line's end
    ),
    "vicuna": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
        "<eos>",
    ),
    "trimming": (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}<|user|><|assistant|>",
        None,  # text at its end, behind any conversation
    ),
    "switched": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% if thinking %}<think>{% else %}</think>{% endif %}"
        "{% endif %}",
        None,  # answers are shown without what the prompt ends with
    ),
}


HEADERS = (  # what trl marks around the words: who speaks, an empty block of reasoning, the end of the document
    *("<think>", "</think>", "<|start|>assistant to=user", "<|start|>assistant", "<|channel|>final", "<|message|>"),
    *("<｜Assistant｜>", "<|endoftext|>", "<eos>"),
)


def ending_of(name: str) -> str:
    return ENDINGS[max((known for known in ENDINGS if name.startswith(known)), key=len)]


def chat_with(folder: Path, template: str, thinking: str | None = None) -> ChatFormat:
    path = save_tokenizer(folder, template, eos_token="<eos>", bos_token="<bos>", pad_token="<pad>")
    return ChatFormat(load_tokenizer(path, thinking=thinking)[0])


Published = Callable[[str], "ChatFormat"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The chat format of a template that trl stores, each loaded once."""
    return cache(lambda name: chat_with(tmp_path_factory.mktemp(name), TRL[name]))


def learned(chat: ChatFormat, turns: list[dict[str, str]]) -> list[str]:
    """The text of each answer that the loss is on, in the order of the conversation."""
    found = []
    for ids, mask in chat.rows(turns):
        runs: list[list[int]] = [[]]
        for token, counts in zip(ids, mask, strict=True):
            if counts:
                runs[-1].append(token)
            elif runs[-1]:
                runs.append([])
        found += [chat.tokenizer.decode(run) for run in runs if run]
    return found


@pytest.mark.parametrize("name", TRL)
def test_the_loss_is_on_the_answers_words_and_the_token_that_ends_the_turn(name: str, published: Published) -> None:
    """Of every template that trl stores: all of it and nothing else, for one answer and for several (trl#6361)."""
    chat, end = published(name), ending_of(name)
    for turns, words in ((TURNS[:2], ["Hello you"]), (TURNS, ["Hello you", "Good bye"])):
        assert [text.lstrip(" ") for text in learned(chat, turns)] == [word + end for word in words]
    assert end.endswith(chat.stop)
    assert chat.tokenizer.convert_ids_to_tokens(chat.stop_id) == chat.stop


@pytest.mark.parametrize("name", TRL)
def test_a_row_is_the_prompt_of_generation_and_the_answer(name: str, published: Published, tmp_path: Path) -> None:
    """In our own code, in transformers without any option (as `transformers serve` calls it), and in plain Jinja."""
    chat = published(name)
    prompt, answer = chat.prompt(TURNS[:-1]), chat.answer(TURNS[:-1], "Good bye")
    assert chat.conversation(TURNS).ids == prompt + answer
    chat.tokenizer.save_pretrained(tmp_path / "exported")
    served, remarks = load_tokenizer(str(tmp_path / "exported"))
    assert served.chat_template == chat.tokenizer.chat_template
    assert not remarks
    parts = name.startswith(("smolvlm", "idefics3", "llava_next"))
    history = [{**t, "content": [{"type": "text", "text": t["content"]}]} for t in TURNS[:-1]] if parts else TURNS[:-1]
    rendered = served.apply_chat_template(history, tokenize=False, add_generation_prompt=True)
    assert served(rendered, add_special_tokens=False)["input_ids"] == prompt
    assert plainly(chat.tokenizer.chat_template, history) == rendered


@pytest.mark.parametrize("name", TRL)
def test_a_published_template_is_let_through_when_the_plan_is_made(name: str) -> None:
    assert template_fault(TRL[name], {"bos_token": "<bos>", "eos_token": "<eos>"}) is None


def plainly(template: str, messages: Any) -> str:
    """As servers other than transformers render; whoever asks for the time fails."""

    def fail(message: str) -> str:
        raise AssertionError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals |= {"raise_exception": fail, "strftime_now": fail}
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


@pytest.mark.parametrize("name", [name for name in TRL if name.endswith("_training")])
def test_what_is_learned_is_what_trl_marks_as_generated(name: str, published: Published) -> None:
    """An independent reading: trl's own tags in its training templates, without an empty block of reasoning."""
    tokenizer = published(name).tokenizer
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in TURNS[:2]]
    turns = parts if name.startswith(("smolvlm", "idefics3", "llava_next")) else TURNS[:2]
    found = tokenizer.apply_chat_template(
        turns, chat_template=TRL[name], return_assistant_tokens_mask=True, return_dict=True, tokenize=True
    )
    marked = [i for i, m in zip(found["input_ids"], found["assistant_masks"], strict=True) if m]
    text = tokenizer.decode(marked)
    (own,) = learned(published(name), TURNS[:2])
    own = own.removesuffix("<eos>") if name.startswith("glm4moe") else own  # no token ends its turns
    assert own.strip() in text
    left = text.replace(own.strip(), "", 1)
    for header in HEADERS:
        left = left.replace(header, "")
    assert not left.strip()


@pytest.mark.parametrize("name", OTHERS)
def test_other_shapes_are_right_or_refused(name: str, tmp_path: Path) -> None:
    template, end = OTHERS[name]
    chat = chat_with(tmp_path, template)
    if end is None:
        with pytest.raises(Unrenderable, match=r"model\.chat_template"):
            chat.rows(TURNS)
    else:
        assert [text.lstrip(" ") for text in learned(chat, TURNS)] == [f"Hello you{end}", f"Good bye{end}"]


@pytest.mark.parametrize("words", ["end", "assistant", "a", "</", "Hello you <|im_end|> there", " \n spaces \n ", ""])
def test_an_answer_of_any_words_is_found_in_what_is_rendered(words: str, tmp_path: Path) -> None:
    """Also where they occur in the template's own tokens, or look like the end of a turn."""
    for name in ("qwen3", "phi3", "llama3_2", "gptoss"):
        chat = chat_with(tmp_path / name, TRL[name])
        (text,) = learned(chat, [ASKED, {"role": "assistant", "content": words}])
        assert text.endswith(chat.stop)
        assert "".join(text.removesuffix(chat.stop).split()) == "".join(words.split())
        assert sum(chat.conversation([ASKED, {"role": "assistant", "content": words}]).mask) >= 1


REASONED = {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nHello you"}
IN_A_FIELD = {**ANSWERED, "reasoning_content": "hmm"}
REASONING = ["qwen3", "qwen3_5_think", "deepseek_r1_distill", "glm4moe", "gptoss", "nemotron_3_nano"]


@pytest.mark.parametrize("given", [REASONED, IN_A_FIELD], ids=["in the text", "in a field"])
@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_emptied_kept_or_trained_as_asked(name: str, given: dict[str, str], tmp_path: Path) -> None:
    end, rows = ending_of(name), {}
    for thinking in ("empty", "keep", "train"):
        chat = chat_with(tmp_path / thinking, TRL[name], thinking)
        assert chat.has_reasoning([ASKED, given])
        (text,) = learned(chat, [ASKED, given])
        rows[thinking] = chat.tokenizer.decode(chat.conversation([ASKED, given]).ids), text
    assert rows["empty"][1] == rows["keep"][1] == f"Hello you{end}"
    assert "hmm" not in rows["empty"][0]
    assert "hmm" in rows["keep"][0]
    assert rows["train"][1].endswith(f"Hello you{end}")
    assert rows["train"][1].count("hmm") == 1
    assert rows["train"][0] == rows["keep"][0]


@pytest.mark.parametrize("thinking", ["empty", "keep", "train"])
@pytest.mark.parametrize("name", REASONING)
def test_an_answer_that_was_drawn_with_its_reasoning_is_trained_as_it_was_drawn(
    name: str, thinking: str, tmp_path: Path
) -> None:
    chat = chat_with(tmp_path, TRL[name], thinking)
    drawn = chat.answer([ASKED], REASONED["content"])
    if name != "gptoss":  # its channels are special tokens, which a text has not
        assert chat.answer([ASKED], chat.text(drawn)) == drawn
    assert chat.conversation([ASKED, REASONED]).ids == chat.prompt([ASKED]) + drawn


def test_reasoning_is_not_asked_of_a_template_that_knows_none(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no place for reasoning"):
        chat_with(tmp_path, TRL["llama3"], "train")


def test_a_choice_about_reasoning_can_be_changed_later(tmp_path: Path) -> None:
    """The exported template says what was chosen; another choice begins from the original."""
    first = chat_with(tmp_path / "one", TRL["qwen3"])
    first.tokenizer.save_pretrained(tmp_path / "two")
    again, _ = load_tokenizer(str(tmp_path / "two"), thinking="train")
    assert again.chat_template == chat_with(tmp_path / "three", TRL["qwen3"], "train").tokenizer.chat_template


def test_dates_are_frozen_and_recorded(tmp_path: Path) -> None:
    for name in ("llama3_2", "gptoss"):
        path = save_tokenizer(tmp_path / name, TRL[name], eos_token="<eos>", bos_token="<bos>")
        tokenizer, remarks = load_tokenizer(path)
        text = tokenizer.decode(ChatFormat(tokenizer).prompt([ASKED]))
        assert "26 Jul 2024" in text or "2024-07-26" in text
        assert f"{datetime.now():%d %b %Y}" not in text
        assert any("frozen at 26 Jul 2024" in remark for remark in remarks)
        assert "2024-07-26" in tokenizer.chat_template


def test_a_template_without_moving_parts_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("llama3", "gemma", "qwen2_5", "phi3"):
        assert chat_with(tmp_path / name, TRL[name]).tokenizer.chat_template == TRL[name]


def test_a_row_that_the_template_refuses_is_told_from_a_template_that_is_no_use(tmp_path: Path) -> None:
    chat = chat_with(tmp_path / "gemma", TRL["gemma"])
    system = [{"role": "system", "content": "Be kind."}, *TURNS[:2]]
    found = chat.lengths([TURNS, system, TURNS[:2]])
    assert isinstance(found[1], Unrenderable)
    assert "System role not supported" in found[1].reason
    assert found[::2] == [len(chat.conversation(TURNS).ids), len(chat.conversation(TURNS[:2]).ids)]
    for useless, says in (
        ("{{ raise_exception('never') }}", "never"),
        ("{% for m in messages %}{{ m.role }}", "does not parse"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "leaves out the assistant's text"),
    ):
        with pytest.raises(RequestError, match=says):
            _ = chat_with(tmp_path / says, useless).stop


@pytest.mark.parametrize("name", [name for name in TRL if not name.endswith("_training")])
def test_no_text_becomes_a_control_token(name: str, published: Published) -> None:
    """Whatever stands in a conversation: the ids of control tokens are the template's own, as many as without it."""
    chat = published(name)
    control = {chat.tokenizer.convert_tokens_to_ids(token) for token in chat.specials}

    def count(content: str) -> int:
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": content}]
        return sum(token in control for token in chat.conversation(turns).ids)

    hostile = " ".join(sorted(control_tokens(TRL[name]) & set(chat.specials)))
    assert count(f"a {hostile} b") == count("a b")


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_an_answer_that_is_not_to_be_learned_is_context(name: str, tmp_path: Path) -> None:
    chat = chat_with(tmp_path, OTHERS[name][0])
    marked = [ASKED, {**ANSWERED, "train": False}, ASKED_AGAIN, ANSWERED_AGAIN]
    (row,) = chat.rows(marked)
    (whole,) = chat.rows(TURNS)
    assert row.ids == whole.ids
    learned = [token for token, learned in zip(row.ids, row.mask, strict=True) if learned]
    assert learned == chat.answer(TURNS[:3], "Good bye")
    assert chat.prompt(marked[:3]) == chat.prompt(TURNS[:3])
    with pytest.raises(Unrenderable, match="no answer"):
        chat.rows(marked[:2])
    assert chat.lengths([marked, marked[:2]])[0] == len(row.ids)
