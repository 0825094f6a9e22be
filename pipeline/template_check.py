"""Whether a chat template can render a plain question and its answer; asked when the plan is made, without torch."""

from collections.abc import Mapping
from typing import Any

_ANSWER = "zqanswerqz"  # a text that no template contains
_ASKED = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
_IN_PARTS = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in _ASKED]


def template_fault(template: str, tokens: Mapping[str, Any]) -> str | None:
    """Why no conversation can be rendered with the template; None where one can be, as text or in parts.

    `tokens` are the special tokens that a template may use: `bos_token`, `eos_token`, … What a template does with rows
    of data is seen when they are rendered: those that it refuses go one by one.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    fault = "it leaves out what the assistant says"
    for conversation in (_ASKED, _IN_PARTS):
        try:
            rendered, _ = render_jinja_template([conversation], chat_template=template, **tokens)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            fault = str(error).strip() or type(error).__name__
            continue
        if _ANSWER in rendered[0]:
            return None
    return fault
