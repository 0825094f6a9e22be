"""Chatbot Arena's battles: two whole conversations with the same questions, and a verdict."""

import json

from pipeline.data.faults import BadRow
from pipeline.data.formats import sides
from pipeline.data.formats.coded import Coded, choice_in
from pipeline.data.formats.comparisons import pair_of_turns
from pipeline.data.formats.conversations import Row, in_order, turns_in
from pipeline.data.formats.fields import list_in
from pipeline.data.formats.judgement import Pair, is_absent, response_in
from pipeline.data.formats.watching import note
from pipeline.data.reading.jsontext import parse_json
from pipeline.data.rows import Message

COLUMNS = (("conversation_a", "conversation_b", "winner"), ("prompt", "response_a", "response_b", "winner_model_a"))

_SIDES = ("conversation_a", "conversation_b")
_ANSWERS = ("response_a", "response_b")


def battle(row: Row) -> list[Pair]:
    """conversation_a, conversation_b and winner: the 33k form. A tie is a pair of margin 0. Raises BadRow."""
    conversations = [
        _judged_part(row, in_order(turns_in(row.get(field), field), field, "assistant")) for field in _SIDES
    ]
    note(row, "answer", *_SIDES)
    if sides.has_hot_verdict(row):
        return [_decided(row, conversations, sides.hot_verdict(row), _SIDES)]
    column = sides.verdict_column(row)
    if column is None:
        raise BadRow(None, None, "a column is missing: winner")
    note(row, "judgement", column)
    return [_decided(row, conversations, sides.with_ties(row, choice_in(row, column), (*_SIDES, column)), _SIDES)]


def turn_lists(row: Row) -> list[Pair]:
    """prompt, response_a and response_b as lists of turns (JSON in a CSV), the winner in three columns: the 55k form.

    Raises BadRow.
    """
    asked = _texts(row.get("prompt"), "prompt")
    conversations = [_conversation(asked, _texts(row.get(field), field), field) for field in _ANSWERS]
    note(row, "prompt", "prompt")
    note(row, "answer", *_ANSWERS)
    return [_decided(row, conversations, sides.hot_verdict(row), _ANSWERS)]


def codes_of(row: Row) -> list[Coded]:
    """The winner."""
    column = None if sides.has_hot_verdict(row) else sides.verdict_column(row)
    return [sides.coded_verdict(row, column, sides.Sides(*_SIDES))] if column else []


def has_battle(row: Row) -> bool:
    """Whether the row has two whole conversations and a verdict column."""
    judged = sides.has_hot_verdict(row) or sides.verdict_column(row) is not None
    return all(isinstance(row.get(field), list) for field in _SIDES) and judged


def has_turn_lists(row: Row) -> bool:
    """Whether prompt and answers are lists of texts, also as JSON text."""
    if not sides.has_hot_verdict(row) or not row.keys() >= {"prompt", *_ANSWERS}:
        return False
    try:
        return all(_texts(row[field], field) for field in ("prompt", *_ANSWERS))
    except BadRow:
        return False


def _decided(row: Row, conversations: list[list[Message]], choice: str | None, fields: tuple[str, str]) -> Pair:
    sides.check_order(row)
    if choice is None:
        raise BadRow(None, None, "the verdict on the two answers is missing")
    first, second = conversations if choice != "second" else conversations[::-1]
    return pair_of_turns(row, first, second, 0.0 if choice == "tie" else None, fields)


def _judged_part(row: Row, turns: list[Message]) -> list[Message]:
    """The turns up to the judged answer: `turn` counts answers (MT-bench judges one at a time)."""
    answers = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "assistant"]
    count = row.get("turn")
    return turns[: answers[count - 1]] if type(count) is int and 0 < count < len(answers) else turns


def _texts(value: object, field: str) -> list[str]:
    """The texts of a list; an absent text is empty. Raises BadRow."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except json.JSONDecodeError:
            raise BadRow(field, None, "a list of texts is expected") from None
    return ["" if is_absent(text) else response_in(text, field) for text in list_in(value, field)]


def _conversation(asked: list[str], answered: list[str], field: str) -> list[Message]:
    if len(asked) != len(answered):
        raise BadRow(field, None, "there must be as many answers as questions")
    return [
        Message(role=role, content=text)
        for exchange in zip(asked, answered, strict=True)
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
