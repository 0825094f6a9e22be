"""Formats of whole conversations: each function converts a raw row to turns or raises BadRow."""

from collections.abc import Callable

from pipeline.data.formats.columns import CONVERSATIONS, asked_turns, history_in, is_blank, turns_about
from pipeline.data.formats.conversations import (
    ROLE_KEYS,
    ROLES,
    Row,
    Turns,
    joined,
    turns_in,
    turns_of_row,
)
from pipeline.data.formats.fields import list_in, object_in, text_in
from pipeline.data.formats.flags import marked_turns
from pipeline.data.formats.pairs import answer_turns, answered
from pipeline.data.formats.watching import note, peek
from pipeline.data.rows import Message

_SPEAKS = {*ROLE_KEYS, *(name for name, role in ROLES.items() if role in ("user", "assistant"))}


def alpaca(row: Row) -> list[Turns]:
    """instruction, output; optional input, system, and history as pairs of user and assistant turns."""
    note(row, "prompt", *(key for key in ("instruction", "input") if not is_blank(peek(row, key))))
    note(row, "answer", "output")
    asked = row.get("instruction")
    turns = turns_about(asked, "instruction", row.get("input")) if isinstance(asked, str) else []
    question = turns or [Message(role="user", content=joined(asked, row.get("input"), "instruction"))]
    return [
        answered(row, "instruction + output", [*history_in(row), *question], answer_turns(row.get("output"), "output"))
    ]


def sharegpt(row: Row) -> list[Turns]:
    """conversations with from and value; a `system` column counts unless the conversation opens with one."""
    note(row, "turns", "conversations")
    turns = turns_in(marked_turns(row, "conversations"), "conversations", "from", "value")
    return [turns_of_row(row, "conversations", turns, "id")]


def messages(row: Row) -> list[Turns]:
    """messages (or conversation, dialogue, …) with role and content, or with the speakers as keys."""
    field = _conversation(row) or "messages"
    note(row, "turns", field)
    return [turns_of_row(row, field, turns_in(marked_turns(row, field), field), "id", "writer", "corrected_by")]


def openorca(row: Row) -> list[Turns]:
    """question and response, with a `system_prompt` that may be empty."""
    note(row, "answer", "response")
    answer = answer_turns(row.get("response"), "response")
    return [answered(row, "question + response", [*history_in(row), *asked_turns(row, "question")], answer)]


def pubmedqa(row: Row) -> list[Turns]:
    """QUESTION, CONTEXTS and LONG_ANSWER, in any case; the contexts may lie within `context`."""
    columns = {key.lower(): value for key, value in row.items()}
    contexts = columns.get("contexts")
    if contexts is None:
        contexts = object_in(columns.get("context"), "context").get("contexts")
    texts = enumerate(list_in(contexts, "contexts"))
    about = "\n\n".join(text_in(text, f"contexts[{index}]", "user") for index, text in texts)
    question = text_in(columns.get("question"), "question", "user")
    answer = text_in(columns.get("long_answer"), "long_answer", "assistant")
    return [turns_of_row(row, "question + long_answer", _exchange(f"{question}\n\n{about}", answer))]


def has_turns(columns: tuple[str, ...], *keys: str) -> Callable[[Row], bool]:
    """A test whether one of these columns is a list of turns that have one of the keys."""

    def matches(row: Row) -> bool:
        lists = [row[column] for column in columns if isinstance(row.get(column), list)]
        return any(isinstance(turn, dict) and not turn.keys().isdisjoint(keys) for turns in lists for turn in turns)

    return matches


def has_sharegpt(row: Row) -> bool:
    return has_turns(("conversations",), "from")(row)


def has_conversation(row: Row) -> bool:
    """Whether a column is a list of turns in any shape but ShareGPT's."""
    column = _conversation(row)
    return column is not None and not (column == "conversations" and has_sharegpt(row))


def has_openorca(row: Row) -> bool:
    return row.keys() >= {"system_prompt", "question", "response"}


def has_pubmedqa(row: Row) -> bool:
    columns = {key.lower() for key in row}
    return columns >= {"question", "long_answer"} and not columns.isdisjoint(("contexts", "context"))


def _conversation(row: Row) -> str | None:
    """The column with the conversation: the first of the names, in any case, that holds a list of turns."""
    columns = {key.lower(): key for key in row if key.lower() in CONVERSATIONS and isinstance(peek(row, key), list)}
    return next(
        (columns[name] for name in CONVERSATIONS if name in columns and _are_turns(peek(row, columns[name]))), None
    )


def _are_turns(value: list[object]) -> bool:
    return any(isinstance(turn, dict) and any(key.lower() in _SPEAKS for key in turn) for turn in value)


def _exchange(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]
