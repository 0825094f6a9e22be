"""Whether a chat template can render a plain question and its answer; asked when the plan is made, without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

ANSWER = "zqanswerqz"  # a text that no template contains
USER: Mapping[str, Any] = {"role": "user", "content": "a"}
ASSISTANT: Mapping[str, Any] = {"role": "assistant", "content": ANSWER}
RAISED = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)
"""What a template raises for a conversation that it does not take."""


def in_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Texts as lists of one part each, as templates of multimodal models expect them."""
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def template_fault(template: str, tokens: Mapping[str, Any]) -> str | None:
    """Why no conversation can be rendered with the template; None where one can be, as text or in parts.

    `tokens` are the special tokens that a template may use: `bos_token`, `eos_token`, … What a template does with rows
    of data is seen when they are rendered: those that it refuses go one by one.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    fault = "it leaves out what the assistant says"
    asked = [dict(USER), dict(ASSISTANT)]
    for conversation in (asked, in_parts(asked)):
        try:
            rendered, _ = render_jinja_template([conversation], chat_template=template, **tokens)
        except RAISED as error:
            fault = str(error).strip() or type(error).__name__
            continue
        if ANSWER in rendered[0]:
            return None
    return fault
