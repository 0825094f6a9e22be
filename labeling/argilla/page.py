"""Renders a task for Argilla's page: the conversation as a chat, the responses side by side. Pure functions.

Model outputs are untrusted text on a page with logged-in users, and only Markdown fields in Argilla 2.8 show formatted
text safely: their content passes a sanitizer (DOMPurify). A plain text field is inserted as raw HTML. A custom field is
a frame of the page's origin with the whole record as a script, so that a response with `</script>` runs in the
annotator's session. So all fields are Markdown fields, and their Markdown is converted to HTML here: raw HTML is shown
as text; pictures become links, so that the page fetches nothing from outside; and responses share a grid.

The HTML of a field is one line that begins with `<div`: Markdown does not change it up to the next blank line.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from labeling.backend import Question
from labeling.questions import LETTERS
from labeling.records import Task

MAX_MESSAGE = 20_000  # characters of HTML per chat turn
MAX_MESSAGES = 500
MAX_NESTING = 100  # blocks inside blocks: lists of 50 levels; a text with more is shown as it was written
NARROW = 6  # blocks inside blocks from which on lists are indented less: the fourth list inside lists
CHECKSUM = "task"
OPINIONS = "opinions"  # the role of a turn that shows annotators' answers; no part of what is asked

FIELDS: list[dict[str, Any]] = [
    {"name": "prompt", "title": "Prompt", "required": True, "settings": {"type": "chat", "use_markdown": True}},
    {"name": "answers", "title": "Answers", "required": True, "settings": {"type": "text", "use_markdown": True}},
]
METADATA: list[dict[str, Any]] = [
    {
        "name": CHECKSUM,
        "title": "Checksum of the task",
        "settings": {"type": "terms"},
        "visible_for_annotators": False,
    }
]

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")

# The colours are Argilla's variables, so that they follow its dark theme.
_GRID = "display:grid;grid-template-columns:repeat(auto-fit,minmax({least},1fr));gap:12px;align-items:start"
_CARD = (
    "border:1px solid var(--border-field,#ddd);border-radius:8px;padding:4px 14px 10px;min-width:0;"
    "overflow-wrap:anywhere"
)
_PRE = "border:1px solid var(--border-field,#ddd);border-radius:4px;padding:6px 10px;overflow-x:auto;white-space:pre"
_PLAIN = "font:inherit;margin:0;overflow-wrap:anywhere;white-space:pre-wrap"
_CODE = "background:none;color:inherit;white-space:pre"
_CELL = "border:1px solid var(--border-field,#ddd);padding:2px 8px"
_NAME = "font-weight:600;padding:6px 0;margin-bottom:4px;border-bottom:1px solid var(--border-field,#ddd)"


def fields_of(question: Question) -> list[dict[str, Any]]:
    """Return the fields of a dataset for Argilla's REST API; in a review the answers field has the title Draft."""
    if question != "review":
        return FIELDS
    return [{**field, "title": "Draft"} if field["name"] == "answers" else field for field in FIELDS]


def record_of(task: Task, correction: str | None = None) -> dict[str, Any]:
    """Return a task as a record for Argilla's REST API; its checksum shows later whether an id still has the same task.

    `correction` is the id of the question to prefill with the draft. Raises ValueError for a conversation that is too
    long for Argilla.
    """
    if len(task["prompt"]) > MAX_MESSAGES:
        raise ValueError(f"task {task['id']!r}: Argilla shows up to {MAX_MESSAGES} turns, but it has more")
    messages = []
    for message in task["prompt"]:
        content = to_html(message["content"])
        if len(content) > MAX_MESSAGE:
            raise ValueError(
                f"task {task['id']!r}: a turn of its prompt is longer than the {MAX_MESSAGE:,} characters that "
                "Argilla shows. Leave such prompts out."
            )
        messages.append({"role": message["role"], "content": content})
    record: dict[str, Any] = {
        "external_id": task["id"],
        "fields": {"prompt": messages, "answers": side_by_side(task["responses"])},
        "metadata": {CHECKSUM: checksum(task)},
    }
    if correction:
        record["suggestions"] = [{"question_id": correction, "value": task["responses"][0]}]
    return record


def checksum(task: Task) -> str:
    """Return a hash of the prompt and the responses in their slots; opinions that are shown with it do not count."""
    prompt = [message for message in task["prompt"] if message["role"] != OPINIONS]
    asked = json.dumps([prompt, task["responses"]], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def side_by_side(responses: list[str]) -> str:
    """Return the responses as a grid of cards, headed A, B, C …: up to three per row, or two for 2 and 4 responses.

    A single response has no card.
    """
    if len(responses) == 1:
        return to_html(responses[0])
    columns = 2 if len(responses) in (2, 4) else 3
    least = f"min(100%,max(15rem,calc((100% - {12 * (columns - 1)}px) / {columns})))"
    cards = (
        f'<div style="{_CARD}"><div style="{_NAME}">Answer {letter}</div>{to_html(response)}</div>'
        for letter, response in zip(LETTERS, responses, strict=False)
    )
    return f'<div style="{_GRID.format(least=least)}">{"".join(cards)}</div>'


def to_html(markdown: str) -> str:
    """Convert Markdown to safe HTML in one line; an empty text becomes "(empty)"."""
    if not markdown.strip():
        return "<div><p><em>(empty)</em></p></div>"
    renderer = _renderer()
    env: dict[str, Any] = {}
    tokens = renderer.parse(markdown, env)
    if any(token.level >= MAX_NESTING - 2 for token in tokens):  # what is nested deeper would be left out
        html = f'<pre style="{_PLAIN}" dir="auto">{escapeHtml(markdown.strip())}</pre>'
    else:
        right_to_left = bool(_RIGHT_TO_LEFT.search(markdown))
        for token in tokens:
            _lay_out(token, right_to_left)
        html = renderer.renderer.render(tokens, renderer.options, env).strip()
    # In HTML, line ends matter only in code blocks; "&#10;" is equivalent everywhere.
    return f"<div>{html}</div>".replace("\n", "&#10;")


def _lay_out(token: Token, right_to_left: bool) -> None:
    """Let the first letter of a block decide its direction, and indent lists less the deeper they are."""
    if right_to_left and token.nesting == 1 and token.level == 0:
        token.attrSet("dir", "auto")
    if token.type in ("bullet_list_open", "ordered_list_open") and token.level >= NARROW:
        token.attrSet("style", f"padding-inline-start:{0.9 if token.level < 3 * NARROW else 0.2}em")


@cache
def _renderer() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    markdown.add_render_rule("image", _link_to_picture)
    markdown.add_render_rule("fence", _code)
    markdown.add_render_rule("code_block", _code)
    markdown.add_render_rule("th_open", _cell)
    markdown.add_render_rule("td_open", _cell)
    return markdown


def _link_to_picture(self: RendererHTML, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
    picture = tokens[number]
    name = picture.content or "no name"
    return f'<a href="{escapeHtml(str(picture.attrGet("src")))}">[picture: {escapeHtml(name)}]</a>'


def _code(self: RendererHTML, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
    return f'<pre style="{_PRE}" dir="ltr"><code style="{_CODE}">{escapeHtml(tokens[number].content)}</code></pre>'


def _cell(self: RendererHTML, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
    tokens[number].attrJoin("style", f";{_CELL}" if tokens[number].attrGet("style") else _CELL)
    return self.renderToken(tokens, number, options, env)
