"""Checks during planning, without torch, whether a chat template can render a plain question and its answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

ANSWER = "zqanswerqz"  # a text that no template contains
USER: Mapping[str, Any] = {"role": "user", "content": "a"}
ASSISTANT: Mapping[str, Any] = {"role": "assistant", "content": ANSWER}
RAISED = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)
"""The exceptions that a template raises for a conversation that it refuses."""


def in_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with each text as a list of one part, as templates of multimodal models expect."""
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def template_fault(template: str, tokens: Mapping[str, Any]) -> str | None:
    """Return why the template cannot render a conversation; None if it can, with contents as text or as parts.

    `tokens` are the special tokens that a template may use: `bos_token`, `eos_token`, … Rows of data that a template
    refuses are found, and left out one by one, when they are rendered.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    fault = "it leaves out the assistant's text"
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
