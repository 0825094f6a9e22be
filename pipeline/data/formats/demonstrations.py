"""Formats of whole conversations: a raw row in, its turns as they stand out, or BadRow."""

from collections.abc import Callable

from pipeline.data.faults import BadRow
from pipeline.data.formats.columns import asked_in, asked_turns, named
from pipeline.data.formats.conversations import Row, Turns, joined, text_or_turns, turns_in, turns_of_row
from pipeline.data.formats.fields import list_in, object_in, text_in
from pipeline.data.rows import Message

ANSWERED = ("completion", "response", "answer", "answers", "output", "chosen")
COMMON_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "response"),
    ("query", "response"),
    ("input", "output"),
)


def alpaca(row: Row) -> list[Turns]:
    """instruction, output; optional input, system, and history as pairs of what user and assistant said."""
    question = joined(row.get("instruction"), row.get("input"), "instruction")
    answer = text_in(row.get("output"), "output", "assistant")
    return [turns_of_row(row, "instruction + output", [*_history(row), *_exchange(question, answer)])]


def sharegpt(row: Row) -> list[Turns]:
    """conversations with from and value; a `system` column counts unless the conversation opens with one."""
    turns = turns_in(row.get("conversations"), "conversations", "from", "value")
    return [turns_of_row(row, "conversations", turns, "id")]


def messages(row: Row) -> list[Turns]:
    """messages (or conversations) with role and content."""
    field = "messages" if "messages" in row else "conversations"
    return [turns_of_row(row, field, turns_in(row.get(field), field), "id", "writer", "corrected_by")]


def prompt_completion(row: Row) -> list[Turns]:
    """A prompt and its answer as text or as messages, in columns of common names; `context` is joined to the prompt.

    An answer that is a list of messages may begin with its prompt.
    """
    pairs = _pairs(row)
    if not pairs:
        raise BadRow(None, None, f"a column is missing: {' or '.join(map(' + '.join, COMMON_PAIRS))}")
    if len(pairs) > 1:
        names = " or ".join(map(" + ".join, pairs))
        raise BadRow(names, None, "several columns could be the prompt and its answer: keep one of each")
    asked, answered = pairs[0]
    prompt, answer = asked_turns(row, asked), _answer(row[answered], answered)
    if answer[0]["role"] == "assistant":
        return [turns_of_row(row, f"{asked} + {answered}", [*prompt, *answer])]
    if not all(turn in answer for turn in prompt):
        raise BadRow(answered, None, "the answer begins with another prompt")
    return [turns_of_row(row, answered, answer)]


def openorca(row: Row) -> list[Turns]:
    """question and response, with a `system_prompt` that may be empty."""
    question = text_in(row.get("question"), "question", "user")
    answer = text_in(row.get("response"), "response", "assistant")
    return [turns_of_row(row, "question + response", _exchange(question, answer))]


def pubmedqa(row: Row) -> list[Turns]:
    """QUESTION, CONTEXTS and LONG_ANSWER, in whatever case; the contexts may lie within `context`."""
    columns = {key.lower(): value for key, value in row.items()}
    contexts = columns.get("contexts")
    if contexts is None:
        contexts = object_in(columns.get("context"), "context").get("contexts")
    texts = enumerate(list_in(contexts, "contexts"))
    about = "\n\n".join(text_in(text, f"contexts[{index}]", "user") for index, text in texts)
    question = text_in(columns.get("question"), "question", "user")
    answer = text_in(columns.get("long_answer"), "long_answer", "assistant")
    return [turns_of_row(row, "question + long_answer", _exchange(f"{question}\n\n{about}", answer))]


def has_turns(columns: tuple[str, ...], key: str) -> Callable[[Row], bool]:
    """Whether one of these columns is a list of turns that have that key."""

    def matches(row: Row) -> bool:
        lists = [row[column] for column in columns if isinstance(row.get(column), list)]
        return any(isinstance(turn, dict) and key in turn for turns in lists for turn in turns)

    return matches


def has_alpaca(row: Row) -> bool:
    return row.keys() >= {"instruction", "output"}


def has_openorca(row: Row) -> bool:
    return row.keys() >= {"system_prompt", "question", "response"}


def has_pubmedqa(row: Row) -> bool:
    columns = {key.lower() for key in row}
    return columns >= {"question", "long_answer"} and not columns.isdisjoint(("contexts", "context"))


def has_prompt_and_answer(row: Row) -> bool:
    """Whether one column may be the prompt and one its answer; `chosen` beside `messages` says the same again."""
    return any(answered.lower() != "chosen" or "messages" not in row for _, answered in _pairs(row))


def _pairs(row: Row) -> list[tuple[str, str]]:
    """Every prompt and answer that may be meant; instruction and output are Alpaca's where they are together."""
    if has_alpaca(row):
        row = {key: value for key, value in row.items() if key not in ("instruction", "output", "input")}
    return [(asked, answered) for asked in asked_in(row) for answered in named(row, ANSWERED)]


def _answer(value: object, field: str) -> list[Message]:
    """SQuAD's `answers` are an object with the texts: of several that are right, the first. Raises BadRow."""
    if isinstance(value, dict):
        first = list_in(value.get("text"), f"{field}.text")[0]
        return [Message(role="assistant", content=text_in(first, f"{field}.text[0]", "assistant"))]
    return text_or_turns(value, field, "assistant")


def _history(row: Row) -> list[Message]:
    pairs = list_in(row["history"], "history") if row.get("history") else []
    return [turn for index, pair in enumerate(pairs) for turn in _past(pair, f"history[{index}]")]


def _past(pair: object, field: str) -> list[Message]:
    texts = list_in(pair, field)
    if len(texts) != 2:
        raise BadRow(field, None, "a question and its answer are expected")
    question, answer = text_in(texts[0], f"{field}[0]", "user"), text_in(texts[1], f"{field}[1]", "assistant")
    return _exchange(question, answer)


def _exchange(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]
