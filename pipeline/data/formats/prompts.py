"""Formats without an answer: prompts and plain text."""

from labeling.exchange.columns import CONTEXT_NAMES, PROMPT_NAMES
from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import asked_turns, named, prompt_column, prompt_in
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.fields import text_in
from pipeline.data.formats.transcripts import is_transcript
from pipeline.data.rows import Message, Prompt

PLAIN_TEXT = (
    "Plain text has no prompt and no answer; write the speaker before each turn, as 'Human:' and "
    "'Assistant:', or give rows with a prompt and its answer."
)

_BESIDE = {  # metadata of a row
    *("system", "system_prompt", "tools"),
    *("id", "source", "url", "title", "author", "date", "timestamp", "lang", "language", "license"),
    *("category", "topic", "subject", "type", "task", "tags", "split", "meta", "metadata"),
}


def prompt(row: Row) -> list[Prompt]:
    """A prompt as text or as messages, with its context and a system text; or else the whole `text`."""
    asked = prompt_column(row)
    if asked is not None:
        return [Prompt(prompt=prompt_in(row, asked_turns(row, asked), asked))]
    if "text" not in row:
        raise BadRow(None, None, f"a column is missing: {' or '.join(PROMPT_NAMES)}")
    turn = Message(role="user", content=text_in(row["text"], "text", "user"))
    return [Prompt(prompt=prompt_in(row, [turn], "text"))]


def plain_text(row: Row) -> list[str]:
    """The `text` column."""
    return [text_in(row.get("text"), "text")]


def has_prompt_alone(row: Row) -> bool:
    """Whether the row has a prompt and no other text that could be its answer."""
    asked = [key for key in named(row, (*PROMPT_NAMES, "input")) if isinstance(row[key], str | list)]
    return bool(asked) and _has_no_other_text(row, {*PROMPT_NAMES, *CONTEXT_NAMES})


def has_text_alone(row: Row) -> bool:
    """Whether the row has a text without speakers, and no column that could be a prompt or an answer."""
    text = row.get("text")
    return isinstance(text, str) and not is_transcript(text) and _has_no_other_text(row, {"text"})


def _has_no_other_text(row: Row, names: set[str]) -> bool:
    others = [value for key, value in row.items() if key.lower() not in names | _BESIDE]
    return not any(isinstance(value, str | list | dict) for value in others)
