"""What holds no answer: prompts that wait for one, and plain text in which nobody asks."""

from labeling.exchange.columns import ABOUT, ASKED
from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import asked_turns, named, prompt_column, prompt_in
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.fields import text_in
from pipeline.data.formats.transcripts import is_transcript
from pipeline.data.rows import Message, Prompt

PLAIN_TEXT = (
    "Plain text: there is no prompt and no answer in it; write who speaks before each turn, as 'Human:' and "
    "'Assistant:', or give rows with a prompt and its answer."
)

_BESIDE = {  # what a row may say of itself
    *("system", "system_prompt", "tools"),
    *("id", "source", "url", "title", "author", "date", "timestamp", "lang", "language", "license"),
    *("category", "topic", "subject", "type", "task", "tags", "split", "meta", "metadata"),
}


def prompt(row: Row) -> list[Prompt]:
    """A prompt as text or as messages, with what it is about and a system text; or else the whole `text`."""
    asked = prompt_column(row)
    if asked is not None:
        return [Prompt(prompt=prompt_in(row, asked_turns(row, asked), asked))]
    if "text" not in row:
        raise BadRow(None, None, f"a column is missing: {' or '.join(ASKED)}")
    said = Message(role="user", content=text_in(row["text"], "text", "user"))
    return [Prompt(prompt=prompt_in(row, [said], "text"))]


def plain_text(row: Row) -> list[str]:
    """The `text` column."""
    return [text_in(row.get("text"), "text")]


def has_prompt_alone(row: Row) -> bool:
    """Whether there is a prompt, and no other text that could be its answer."""
    asked = [key for key in named(row, (*ASKED, "input")) if isinstance(row[key], str | list)]
    return bool(asked) and _says_nothing_else(row, {*ASKED, *ABOUT})


def has_text_alone(row: Row) -> bool:
    """Whether there is a text without speakers, and nothing beside it that could be a prompt or an answer."""
    text = row.get("text")
    return isinstance(text, str) and not is_transcript(text) and _says_nothing_else(row, {"text"})


def _says_nothing_else(row: Row, names: set[str]) -> bool:
    others = [value for key, value in row.items() if key.lower() not in names | _BESIDE]
    return not any(isinstance(value, str | list | dict) for value in others)
