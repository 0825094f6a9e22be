"""One function per format that demonstrations come in: a raw row in, a demonstration out, or BadRow."""

import re
from typing import Any

from pipeline.data.conversations import in_order, joined, system_turn, text_or_turns, turns_in
from pipeline.data.faults import BadRow
from pipeline.data.fields import list_in, text_in
from pipeline.data.rows import Demonstration, Message

Row = dict[str, Any]

PROMPT_COLUMNS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"))

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def alpaca(row: Row) -> Demonstration:
    """instruction, output; optional input, system, and history as pairs of what user and assistant said."""
    question = joined(row.get("instruction"), row.get("input"), "instruction")
    answer = text_in(row.get("output"), "output", "assistant")
    return Demonstration(messages=[*system_turn(row), *_history(row), *_asked_and_answered(question, answer)])


def sharegpt(row: Row) -> Demonstration:
    """conversations with from and value; a `system` column counts unless the conversation opens with one."""
    turns = turns_in(row.get("conversations"), "conversations", "from", "value")
    ordered = in_order(turns, "conversations", last="assistant")
    system = [] if ordered[0]["role"] == "system" else system_turn(row)
    return Demonstration(messages=[*system, *ordered])


def messages(row: Row) -> Demonstration:
    """messages (or conversations) with role and content."""
    field = "messages" if "messages" in row else "conversations"
    return Demonstration(messages=in_order(turns_in(row.get(field), field), field, last="assistant"))


def prompt_completion(row: Row) -> Demonstration:
    """prompt and completion, prompt and response, or question and answer, as text or as messages."""
    pairs = [pair for pair in PROMPT_COLUMNS if row.keys() >= set(pair)]
    if not pairs:
        names = " or ".join(map(" + ".join, PROMPT_COLUMNS))
        raise BadRow(None, None, f"a column is missing: {names}")
    if len(pairs) > 1:
        names = " or ".join(map(" + ".join, pairs))
        raise BadRow(names, None, "several columns could be the prompt and its answer: keep one of each")
    asked, answered = pairs[0]
    prompt = in_order([*system_turn(row), *text_or_turns(row[asked], asked, "user")], asked, last="user")
    both = [*prompt, *text_or_turns(row[answered], answered, "assistant")]
    return Demonstration(messages=in_order(both, f"{asked} + {answered}", last="assistant"))


def hh(row: Row) -> Demonstration:
    """A transcript in the `text` column, or else the `chosen` one of a pair."""
    field = "text" if is_transcript(row.get("text")) else "chosen"
    return Demonstration(messages=in_order(transcript(row.get(field), field), field, last="assistant"))


def is_transcript(value: object) -> bool:
    """Whether the value is text in which a human and an assistant speak in turn."""
    return isinstance(value, str) and {"Human", "Assistant"} <= set(_SPEAKER.findall(value))


def transcript(value: object, field: str) -> list[Message]:
    """The turns of `Human: ...`, `Assistant: ...`, with a blank line before each. Raises BadRow."""
    before, *parts = _SPEAKER.split(text_in(value, field))
    if before.strip():
        raise BadRow(field, None, "there is text before the first 'Human:'")
    spoken = zip(parts[::2], parts[1::2], strict=True)
    return turns_in([{"role": role, "content": text.strip()} for role, text in spoken], field)


def _history(row: Row) -> list[Message]:
    pairs = list_in(row["history"], "history") if row.get("history") else []
    return [turn for index, pair in enumerate(pairs) for turn in _exchange(pair, f"history[{index}]")]


def _exchange(pair: object, field: str) -> list[Message]:
    texts = list_in(pair, field)
    if len(texts) != 2:
        raise BadRow(field, None, "a question and its answer are expected")
    question, answer = text_in(texts[0], f"{field}[0]", "user"), text_in(texts[1], f"{field}[1]", "assistant")
    return _asked_and_answered(question, answer)


def _asked_and_answered(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]
