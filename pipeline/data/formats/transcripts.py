"""Conversations written as one text: turns begin with a speaker, as in Anthropic's HH, or with a template's tokens."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import Row, Turns, turns_in, turns_of_row
from pipeline.data.formats.fields import text_in
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message

_ASKERS = ("Human", "User")
_AFTER_BLANK_LINE = [re.compile(rf"(?:\A|\n\r?\n)({asker}|Assistant):") for asker in _ASKERS]
_AFTER_NEWLINE = [re.compile(rf"(?:\A|\n)({asker}|Assistant):") for asker in _ASKERS]


class _Marks(NamedTuple):
    """A template's tokens: the beginning of a turn, with the speaker as the group, and the end of a turn."""

    begins: re.Pattern[str]
    ends: re.Pattern[str]


_TEMPLATES = (
    _Marks(re.compile(r"<\|im_start\|>[ \t]*(\w+)[ \t]*\n"), re.compile(r"<\|im_end\|>|<\|endoftext\|>")),
    _Marks(re.compile(r"<\|header_start\|>(\w+)<\|header_end\|>"), re.compile(r"<\|eot\|>|<\|end_of_text\|>")),
    _Marks(re.compile(r"<\|(prompter|system|assistant)\|>"), re.compile(r"</s>|<\|endoftext\|>")),
    _Marks(re.compile(r"<｜(User|Assistant)｜>"), re.compile(r"<｜end▁of▁sentence｜>")),
    _Marks(
        re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(\w+)_TOKEN\|>"), re.compile(r"<\|END_OF_TURN_TOKEN\|>|<EOS_TOKEN>")
    ),
    _Marks(re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>"), re.compile(r"<\|eot_id\|>|<\|end_of_text\|>")),
    _Marks(re.compile(r"<start_of_turn>(\w+)\n"), re.compile(r"<end_of_turn>|<eos>")),
    _Marks(re.compile(r"<\|(system|user|assistant)\|>"), re.compile(r"</s>|<\|end\|>|<\|endoftext\|>")),
    _Marks(re.compile(r"(?:\A|\n)### (Instruction|Response)(?::|(?=\n))"), re.compile(r"</s>|<\|endoftext\|>")),
    _Marks(re.compile(r"(?:\A|\n)### (Question|Answer):"), re.compile(r"</s>|<\|endoftext\|>")),
    _Marks(re.compile(r"### (Human|User|Assistant|System):"), re.compile(r"</s>|<\|endoftext\|>")),
    _Marks(re.compile(r"(?:\A|(?<=\s)|(?<=</s>))(USER|ASSISTANT):"), re.compile(r"</s>")),
)
_END = re.compile(rf"(?:\s*(?:{'|'.join(dict.fromkeys(marks.ends.pattern for marks in _TEMPLATES))}))+\s*\Z")
_BEGINNING = re.compile(r"\A\s*(?:<\|begin_of_text\|>|<bos>|<s>|<BOS_TOKEN>|<｜begin▁of▁sentence｜>)")
_PREAMBLE = re.compile(r"(?:Below is an|A chat between|The following is a|You are|This is a)\b")
_INPUT = re.compile(r"\s*\n### Input:\s*")
_SPEAKERS = {
    **dict.fromkeys(("instruction", "question", "human", "prompter"), "user"),
    **dict.fromkeys(("response", "answer", "model", "gpt", "chatbot"), "assistant"),
}
_INSTRUCTED = re.compile(r"(?:<s>)?\s*\[INST\](.*?)\[/INST\](.*?)(?=(?:</s>\s*)?(?:<s>)?\s*\[INST\]|\Z)", re.DOTALL)
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def hh(row: Row) -> list[Turns]:
    """A transcript in the `text` column, or else the `chosen` one of a pair."""
    field = _column(row)
    note(row, "turns", field)
    return [turns_of_row(row, field, transcript(row.get(field), field))]


def has_transcript(row: Row) -> bool:
    return is_transcript(row.get("text")) or is_transcript(row.get("chosen"))


def has_two_transcripts(row: Row) -> bool:
    return is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))


def is_transcript(value: object) -> bool:
    """Whether the value is a text of turns of a human (or user) and an assistant."""
    return isinstance(value, str) and (_speakers(value) is not None or _marked(value) is not None)


def transcript(value: object, field: str) -> list[Message]:
    """The turns of `Human: ...`, `Assistant: ...`, with a blank line before each, or of a template. Raises BadRow.

    `User:` means a human, too. A newline suffices before each turn if the whole text is built so; in a text with blank
    lines, a quoted dialogue does not start a turn.
    """
    text = text_in(value, field)
    marked = None if _speakers(text) else _marked(text)
    if marked is not None:
        return turns_in([{"role": role, "content": said} for role, said in marked], field)
    before, *parts = (_speakers(text) or _AFTER_BLANK_LINE[0]).split(text)
    if before.strip():
        raise BadRow(field, None, "there is text before the first 'Human:'")
    spoken = zip(parts[::2], parts[1::2], strict=True)
    return turns_in([{"role": role, "content": text.strip()} for role, text in spoken], field)


def prompt_turns(text: str, field: str) -> list[Message] | None:
    """The turns of a prompt that is a transcript and ends where the assistant answers; None for any other prompt.

    Raises BadRow if its tokens clearly form a transcript that ends in another way.
    """
    marked = _waiting(text)
    if marked is None:
        return None
    *turns, (role, last) = marked
    turns = turns if role == "assistant" and not last else marked
    return turns_in([{"role": role, "content": said} for role, said in turns], field) if turns else None


def is_waiting(text: str) -> bool:
    """Whether a prompt is a transcript that ends where the assistant answers."""
    return _waiting(text) is not None


def without_end(text: str) -> str:
    """An answer to a transcript prompt, without surrounding space and the template's end token."""
    return _END.sub("", text).strip()


def _column(row: Row) -> str:
    return "text" if is_transcript(row.get("text")) else "chosen"


def _waiting(text: str) -> list[tuple[str, str]] | None:
    """(speaker, text) of a transcript that ends where the assistant answers; None for others, such as a quotation."""
    speakers = _speakers(text)
    if speakers is None:
        return _marked(text)
    before, *parts = speakers.split(text)
    turns = [
        ("assistant" if speaker == "Assistant" else "user", said.strip())
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    waits = turns[-1] == ("assistant", "")
    if not waits and not (speakers in _AFTER_BLANK_LINE and text.startswith("\n\n")):
        return None
    return [*([("system", before.strip())] if before.strip() else []), *turns]


def _marked(text: str) -> list[tuple[str, str]] | None:
    """(speaker, text) of a text with a template's tokens for user and assistant; None for other texts."""
    if "[INST]" not in text and "<" not in text and "###" not in text and "USER:" not in text:
        return None
    return next((turns for turns in (_instructed(text), *(_cut(one, text) for one in _TEMPLATES)) if turns), None)


def _cut(marks: _Marks, text: str) -> list[tuple[str, str]] | None:
    """(role, text) of the turns; text before the first token is the system's. An input belongs to its instruction."""
    before, *parts = marks.begins.split(_BEGINNING.sub("", text))
    if before.strip() and not _PREAMBLE.match(before.strip()):
        return None
    roles = [_SPEAKERS.get(name.lower(), name.lower()) for name in parts[::2]]
    if not {"user", "assistant"} <= set(roles):
        return None
    texts = [marks.ends.sub("", part).strip() for part in parts[1::2]]
    spoken = [
        (role, _INPUT.sub("\n\n", one) if role == "user" else one) for role, one in zip(roles, texts, strict=True)
    ]
    return [*([("system", before.strip())] if before.strip() else []), *spoken]


def _instructed(text: str) -> list[tuple[str, str]] | None:
    """The turns of `[INST] … [/INST] …`, with the system text between `<<SYS>>` tags, if any."""
    if not re.match(r"\s*(?:<s>)?\s*\[INST\]", text):
        return None
    return list(_instructions(text)) or None


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    for asked, answered in _INSTRUCTED.findall(text):
        system = _SYSTEM.search(asked)
        if system:
            yield "system", system[1].strip()
        yield "user", _SYSTEM.sub("", asked).strip()
        yield "assistant", answered.replace("</s>", "").strip()


def _speakers(text: str) -> re.Pattern[str] | None:
    """The pattern that cuts the text into turns, if it consists of turns of two speakers."""
    if "Assistant:" not in text:
        return None
    built = (pattern for pattern in _AFTER_BLANK_LINE if len(set(pattern.findall(text))) == 2)
    start = text.lstrip()
    tight = (one for one in _AFTER_NEWLINE if one.match(start) and len(set(one.findall(text))) == 2)
    return next(chain(built, tight), None)
