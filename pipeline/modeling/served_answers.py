"""A server's answers as token ids, and prompts as plain texts for servers that take and return no ids."""

from collections.abc import Sequence

from pipeline.data.synthetic.drafts import Generated
from pipeline.errors import Unrenderable
from pipeline.modeling.answering import Answer
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages


def text_read_as(chat: ChatFormat, ids: list[int]) -> str | None:
    """Return the text that the tokenizer reads as these ids, adding its special tokens as servers do; None without one.

    A text of users that looks like a control token has none: read again, it would become that token.
    """
    whole = _plain(chat, ids)
    found = (whole.removeprefix(chat.tokenizer.bos_token or ""), whole)
    return next((text for text in found if chat.tokenizer(text)["input_ids"] == ids), None)


def answer_of(chat: ChatFormat, prompt: Messages, rendered: list[int], drawn: Generated) -> Answer:
    """Return a server's answer with token ids: its own, or else those of its text."""
    stop = chat.stop_id
    if drawn.ids is None:
        count = drawn.tokens - (drawn.read or 0) - drawn.stopped
        ids = answer_ids(chat, prompt, rendered, drawn.text, count)
        return Answer(drawn.text.strip(), [*ids, stop] if drawn.stopped else ids or [stop], drawn.stopped)
    ids = list(drawn.ids)
    if drawn.stopped and not {*ids[-1:]} & {stop, *chat.tokenizer.all_special_ids}:
        ids.append(stop)  # a server that leaves it out
    return Answer(chat.text(ids), ids or [stop], ids[-1:] == [stop])


def other_tokens(drawn: Sequence[Generated], answers: Sequence[Answer]) -> int | None:
    """Return how many answers have another number of tokens than the server drew; None if it tells no numbers."""
    told = [(one, answer) for one, answer in zip(drawn, answers, strict=True) if one.read is not None]
    return sum(one.tokens - (one.read or 0) != len(answer.ids) for one, answer in told) if told else None


def answer_ids(chat: ChatFormat, prompt: Messages, rendered: list[int], text: str, count: int) -> list[int]:
    """Return the ids of an answer's text without its stop token: a reading with `count` tokens, if there is one.

    `text` follows a rendered prompt. Where a model drew tokens that the tokenizer does not make of their text, there is
    no such reading.
    """
    readings = []
    whole = chat.tokenizer(_plain(chat, rendered) + text, add_special_tokens=False)["input_ids"]
    if whole[: len(rendered)] == rendered:
        readings.append(whole[len(rendered) :])
    try:
        readings.append(chat.answer(prompt, text.strip())[:-1])
    except Unrenderable:
        readings.append(chat.tokenizer(text, add_special_tokens=False)["input_ids"])
    return next((ids for ids in readings if len(ids) == count), readings[-1])


def _plain(chat: ChatFormat, ids: Sequence[int]) -> str:
    """Return the text of ids with its special tokens and all its spaces."""
    return str(chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
