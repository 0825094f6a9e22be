"""Settles chat templates once, so that training, generation and any server render the same text.

A template can write today's date, open or close a block of reasoning by a switch, or put fixed tokens between its
generation prompt and an answer. All of that is decided here and written into the template, which every artifact
carries: callers pass no options, and an exported model is prompted as it was trained. A template without such parts
stays exactly as it is.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from jinja2 import Environment, TemplateSyntaxError, meta
from transformers import PreTrainedTokenizerBase

from pipeline.errors import RequestError, Unrenderable
from pipeline.model_files.templates import ANSWER, ASSISTANT, RAISED, USER, in_parts

Messages: TypeAlias = Sequence[Mapping[str, Any]]
Render: TypeAlias = Callable[[str, Messages, bool], str]
"""(template, messages, whether an answer follows) -> text."""

EMPTY, TRAIN, KEEP = "empty", "train", "keep"  # the options of model.thinking
OPEN, CLOSE = "<think>", "</think>"
CLOSED = f"{OPEN}\n\n{CLOSE}\n\n"  # how models with an open block in their prompt skip it
SWITCHES = ("enable_thinking", "thinking")  # variables by which templates turn reasoning on and off
FROZEN = date(2024, 7, 26)  # the default date of Llama 3.1's template
REASONING_PROBE = "zqreasonqz"  # a probe for reasoning: a text that occurs in no template

PREFILLED = re.compile(rf"{OPEN}\s*({CLOSE}\s*)?$")  # a block of reasoning that a generation prompt opens, or closes
_SETTLED = re.compile(r"\{#- settled: thinking=(?P<thinking>\w+).*?\{#- template #\}(?P<own>.*)\{#- end #\}", re.DOTALL)
_GENERATION = re.compile(r"\{%(?P<left>[-+]?)\s*(?P<end>end)?generation\s*(?P<right>[-+]?)%\}")
_DATE_FORMAT = re.compile(r"strftime_now\(\s*(?P<quote>[\"'])(?P<format>.*?)(?P=quote)\s*\)")


class Settled(NamedTuple):
    """A settled template, and a remark for each decision."""

    template: str
    remarks: list[str]


def settle(template: str, thinking: str | None, render: Render) -> Settled:
    """Return the template with its variable parts fixed, and reasoning as in `thinking`.

    `empty` closes the block of reasoning in the prompt, so an answer is its words alone; with `train` and `keep` the
    model writes the reasoning. None keeps an earlier decision, else means `empty`. A template that was settled before
    with the same `thinking` is returned unchanged.
    Raises `RequestError` if the template does not parse, raises for a plain question, or has no reasoning to train.
    """
    before = _SETTLED.match(template)
    if before and thinking in (None, before["thinking"]):
        return Settled(template, [])
    own = without_generation_tags(before["own"] if before else template)
    thinking, can_reason = thinking or EMPTY, has_place_for_reasoning(own, render)
    if thinking != EMPTY and not can_reason:
        raise RequestError(
            f"model.thinking={thinking}: this model's chat template has no place for reasoning. Leave the option out."
        )
    remarks: list[str] = []
    head = _frozen_clock(own, remarks) + _switch_defaults(own, thinking)
    lead = _text_before_answer(head + own, render) if thinking == EMPTY else ""
    tail = (
        "{%- if add_generation_prompt %}{{- " + json.dumps(lead, ensure_ascii=False) + " }}{%- endif %}" if lead else ""
    )
    if not head and not tail and thinking == EMPTY:
        return Settled(own, [])
    settled = f"{{#- settled: thinking={thinking}, date={FROZEN} #}}{head}{{#- template #}}{own}{{#- end #}}{tail}"
    _check_settled(settled, head + own, lead, render)
    if can_reason:
        remarks.append(_REMARKS[thinking])
    return Settled(settled, remarks)


_REMARKS = {
    EMPTY: (
        "the template has a place for reasoning: answers are prompted, trained and drawn without it "
        "(model.thinking=empty)"
    ),
    TRAIN: (
        "the template has a place for reasoning: it is trained and drawn as part of the answer (model.thinking=train)"
    ),
    KEEP: (
        "the template has a place for reasoning: it is drawn and kept before the answer, not trained "
        "(model.thinking=keep)"
    ),
}


def renderer(tokenizer: PreTrainedTokenizerBase) -> Render:
    """Return a function that renders messages with a template, with content as text or in parts as the template needs.

    It raises `RequestError` for a template that does not parse, and `Unrenderable` if the template raises.
    """

    def rendered(template: str, messages: Messages, for_answer: bool) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=for_answer,
                )
            )
        except TemplateSyntaxError as error:
            raise RequestError(f"The chat template does not parse: {error.message} (line {error.lineno}).") from error
        except RAISED as error:
            raise Unrenderable(f"the chat template refuses it: {str(error).strip() or type(error).__name__}") from error

    @lru_cache(maxsize=8)
    def takes_text(template: str) -> bool:
        def shown(messages: Messages) -> bool:
            try:
                return ANSWER in rendered(template, messages, False)
            except Unrenderable:
                return False

        return shown([USER, ASSISTANT]) or not shown(in_parts([USER, ASSISTANT]))

    def render(template: str, messages: Messages, for_answer: bool) -> str:
        return rendered(template, messages if takes_text(template) else in_parts(messages), for_answer)

    return render


def thinking_of(template: str) -> str:
    """Return the settled option of `model.thinking`; `empty` for a template that was not settled."""
    found = _SETTLED.match(template)
    return found["thinking"] if found else EMPTY


def without_generation_tags(template: str) -> str:
    """Return the template without `{% generation %}`, a tag that only trainers know; whitespace control stays."""

    def plain(found: re.Match[str]) -> str:
        word = "endif" if found["end"] else "if true"
        return f"{{%{found['left']} {word} {found['right']}%}}"

    return _GENERATION.sub(plain, template)


def has_place_for_reasoning(template: str, render: Render) -> bool:
    """Return whether a template has a place for reasoning, or removes it from answers."""
    if CLOSE in template:
        return True
    try:
        return REASONING_PROBE in render(template, [USER, {**ASSISTANT, "reasoning_content": REASONING_PROBE}], False)
    except RequestError:
        return False


def _frozen_clock(template: str, remarks: list[str]) -> str:
    """Return a macro that replaces the clock with the frozen date; empty for a template without a clock."""
    if "strftime_now" not in template:
        return ""
    formats = dict.fromkeys(found["format"] for found in _DATE_FORMAT.finditer(template))
    remarks.append(f"the template writes today's date: it is frozen at {FROZEN:%d %b %Y}, and recorded in the template")
    branches = "".join(
        f"{{%- {'elif' if i else 'if'} format == {json.dumps(text)} %}}{FROZEN.strftime(text)}"
        for i, text in enumerate(formats)
    )
    other = "{%- else %}" if branches else ""
    end = "{%- endif %}" if branches else ""
    return f"{{%- macro strftime_now(format) %}}{branches}{other}{FROZEN.isoformat()}{end}{{%- endmacro %}}"


def _switch_defaults(template: str, thinking: str) -> str:
    """Return defaults for the switches that the template reads; a server can still override them."""
    value = "false" if thinking == EMPTY else "true"
    variables = _variables(template) if any(name in template for name in SWITCHES) else set()
    return "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {value} %}}{{%- endif %}}"
        for name in SWITCHES
        if name in variables
    )


def _variables(template: str) -> set[str]:
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return meta.find_undeclared_variables(environment.parse(template))
    except TemplateSyntaxError as error:
        raise RequestError(f"The chat template does not parse: {error.message} (line {error.lineno}).") from error


def _text_before_answer(template: str, render: Render) -> str:
    """Return the text between the generation prompt and an answer's words, without final spaces; it joins the prompt.

    Empty if the two do not match in a known way: rendering then refuses the conversation.
    """
    prompt, whole = render(template, [USER], True), render(template, [USER, ASSISTANT], False)
    before, found, _ = whole.partition(ANSWER)
    if not found:
        return ""
    if before.startswith(prompt):
        return before[len(prompt) :].rstrip(" ")
    block = PREFILLED.search(prompt)
    if block and not block[1] and before == prompt[: block.start()]:  # opened in the prompt, left out before answers
        return CLOSED.removeprefix(block[0]) if CLOSED.startswith(block[0]) else f"\n{CLOSE}\n\n"
    return ""


def _check_settled(settled: str, before: str, lead: str, render: Render) -> None:
    """Raise `RequestError` unless the settled template renders the same text, and `lead` after its prompt."""
    asked, answered = [USER], [USER, ASSISTANT]
    same = render(settled, asked, True) == render(before, asked, True) + lead
    if not (same and render(settled, answered, False) == render(before, answered, False)):
        raise RequestError(
            "The chat template cannot be settled: with fixed dates and reasoning it renders another text. "
            "Give another template: model.chat_template=FILE."
        )
