"""Formats of ready-made pairs: each function converts a raw row to a pair or raises BadRow."""

from labeling.exchange.columns import first_of
from pipeline.data.faults import BadRow
from pipeline.data.formats.coded import Coded
from pipeline.data.formats.columns import asked_turns, prompt_column, prompt_in
from pipeline.data.formats.contents import tools_in
from pipeline.data.formats.conversations import Row, in_order, opened, text_or_turns, turns_in
from pipeline.data.formats.fields import object_in
from pipeline.data.formats.judgement import (
    Pair,
    annotator_in,
    group_in,
    id_in,
    is_absent,
    response_in,
    when_in,
)
from pipeline.data.formats.margins import codes_beside, is_turned, margin_of
from pipeline.data.formats.sides import is_labelled
from pipeline.data.formats.transcripts import has_two_transcripts, transcript
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message, conversation_hash

_SIDES = ("chosen", "rejected")
_CONVERSATIONS = ("messages", "conversations")
_NAMES = (
    _SIDES,
    ("chosen_messages", "rejected_messages"),
    ("chosen_response", "rejected_response"),
    ("chosen_answer", "rejected_answer"),
    ("chosen_text", "rejected_text"),
    ("preferred", "dispreferred"),
    ("preferred_response", "dispreferred_response"),
    ("accepted", "rejected"),
    ("better", "worse"),
    ("better_response", "worse_response"),
    ("y_w", "y_l"),
)


def preference(row: Row) -> list[Pair]:
    """chosen and rejected as text or messages after a prompt, or as whole conversations that begin alike."""
    sides = pair_columns(row) or _SIDES
    prompt = _asked(row)
    chosen, rejected = (_whole(prompt, _cell(row, field), field) for field in sides)
    pair = _pair(chosen, rejected, row, sides)
    if not all(turn in pair.prompt for turn in prompt):
        raise BadRow("prompt", None, "chosen and rejected begin with another prompt")
    return [pair]


def hh_pair(row: Row) -> list[Pair]:
    """chosen and rejected as two transcripts that begin alike."""
    chosen, rejected = (in_order(transcript(row.get(field), field), field, "assistant") for field in _SIDES)
    return [_pair(chosen, rejected, row, _SIDES)]


def openai_pair(row: Row) -> list[Pair]:
    """OpenAI's: input.messages and tools, preferred_output and non_preferred_output as messages."""
    asked = object_in(row.get("input"), "input")
    turns = in_order(turns_in(asked.get("messages"), "input.messages"), "input.messages", "user")
    prompt = opened(turns, "", tools_in(asked))
    note(row, "prompt", "input")
    sides = ("preferred_output", "non_preferred_output")
    chosen, rejected = (_whole(prompt, row.get(field), field) for field in sides)
    return [_pair(chosen, rejected, row, sides)]


def swift_pair(row: Row) -> list[Pair]:
    """ms-swift's: messages with the chosen answer, and the other one in rejected_response or rejected_messages."""
    turns = turns_in(row.get("messages"), "messages")
    chosen = opened(in_order(turns, "messages", "assistant"), "", tools_in(row))
    note(row, "prompt", "messages")
    if row.get("rejected_messages"):
        whole = in_order(turns_in(row["rejected_messages"], "rejected_messages"), "rejected_messages", "assistant")
        return [_pair(chosen, opened(whole, "", tools_in(row)), row, ("messages", "rejected_messages"))]
    text = response_in(row.get("rejected_response"), "rejected_response")
    other = [Message(role="assistant", content=text)]
    return [_pair(chosen, [*chosen[:-1], *other], row, ("messages", "rejected_response"))]


def has_pair(row: Row) -> bool:
    """Whether a row has a better and a worse answer; rows of ms-swift have only the worse one beside `messages`."""
    if pair_columns(row) is None or has_two_transcripts(row) or has_swift_pair(row):
        return False
    return not is_labelled(row)


def has_openai_pair(row: Row) -> bool:
    return row.keys() >= {"input", "preferred_output", "non_preferred_output"} and isinstance(row["input"], dict)


def has_swift_pair(row: Row) -> bool:
    other = any(row.get(key) for key in ("rejected_response", "rejected_messages"))
    return isinstance(row.get("messages"), list) and other and pair_columns(row) is None


def pair_columns(row: Row) -> tuple[str, str] | None:
    """The columns of the better answer and of the worse one."""
    for better, worse in _NAMES:
        one, other = first_of(row, (better,)), first_of(row, (worse,))
        if one is None or other is None:
            continue
        if better == "chosen" or all(isinstance(row[key], str | list | dict) for key in (one, other)):  # no flags
            return one, other
    return None


def pair_of_turns(
    row: Row, chosen: list[Message], rejected: list[Message], margin: float | None, sides: tuple[str, str]
) -> Pair:
    """Two whole conversations that begin alike as a pair. Raises BadRow."""
    if conversation_hash(chosen) == conversation_hash(rejected):  # a tie of equal texts
        return _pair_in(row, chosen[:-1], chosen[-1:], rejected[-1:], 0.0, sides)
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    prompt = chosen[:shared]
    if not prompt or prompt[-1]["role"] != "user":
        raise BadRow(sides[1], None, f"{sides[0]} and {sides[1]} must differ in an answer to one prompt")
    return _pair_in(row, prompt, chosen[shared:], rejected[shared:], margin, sides)


def codes_of(row: Row) -> list[Coded]:
    """Flags beside the pair that may reverse it."""
    return codes_beside(row, pair_columns(row) or _SIDES)


def _pair_in(
    row: Row,
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    margin: float | None,
    sides: tuple[str, str],
) -> Pair:
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        margin=margin,
        group=group_in(row),
        annotator=annotator_in(row, sides),
        id=id_in(row),
        when=when_in(row),
    )


def _asked(row: Row) -> list[Message]:
    """The prompt in a column of its own, or a conversation that ends with the user; empty if there is neither."""
    asked = prompt_column(row)
    if asked is not None:
        note(row, "prompt", asked)
        return [] if row[asked] is None else prompt_in(row, asked_turns(row, asked), asked)
    for column in _CONVERSATIONS:
        if isinstance(row.get(column), list) and row[column]:
            turns = turns_in(row[column], column)
            if turns[-1]["role"] == "user":
                note(row, "prompt", column)
                return prompt_in(row, turns, column)
    return []


def _pair(chosen: list[Message], rejected: list[Message], row: Row, sides: tuple[str, str]) -> Pair:
    note(row, "answer", *sides)
    margin = margin_of(row, sides)
    if is_turned(row, sides):
        chosen, rejected = rejected, chosen
    return pair_of_turns(row, chosen, rejected, margin, sides)


def _whole(prompt: list[Message], value: object, field: str) -> list[Message]:
    """The answer as a whole conversation; a list of messages may already hold its prompt."""
    answer = _answered(value, field)
    if answer[0]["role"] != "assistant":
        return in_order(answer, field, "assistant")
    if not prompt:
        raise BadRow("prompt", None, "the prompt is missing: neither in a column nor in chosen and rejected")
    return in_order([*prompt, *answer], f"prompt + {field}", "assistant")


def _answered(value: object, field: str) -> list[Message]:
    """An answer as turns: text, messages, one message, or a number as text."""
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, bool | int | float) and not is_absent(value):
        return [Message(role="assistant", content=response_in(value, field))]
    return text_or_turns(value, field, "assistant")


def _cell(row: Row, field: str) -> object:
    """The column's value; if it names another column (`chosen: answer_a`), that column's value."""
    value = row.get(field)
    return row[value] if isinstance(value, str) and value in row and value != field else value
