"""Roles and order of turns: tools, calls, parts, system texts; and repair of the order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import in_order
from pipeline.data.formats.detection import format_named
from pipeline.data.formats.table import DEMONSTRATIONS, demonstrations_in
from pipeline.data.formats.turn_order import repair_order
from pipeline.data.rows import Message
from tests.unit.data.raw_rows import A, S, T, U, conversations, demonstration, said, texts

CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
CALLED = '{"name": "weather", "arguments": {"city": "Zürich"}}'

any_turns = st.lists(st.tuples(st.sampled_from((U, A, S, T)), texts), max_size=8).map(lambda turns: said(*turns))


def from_value(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def test_tools_speak_after_the_assistant_and_it_goes_on() -> None:
    row = from_value(("human", "q"), ("function_call", "f()"), ("observation", "1"), ("gpt", "one"))
    assert demonstration("sharegpt", row)["messages"] == said((U, "q"), (A, "f()"), (T, "1"), (A, "one"))
    several = said(("developer", "s"), (U, "q"), (A, "f()"), (T, "1"), ("ipython", "2"), (A, "g()"), (T, "3"), (A, "a"))
    roles = [turn["role"] for turn in demonstration("messages", {"messages": several})["messages"]]
    assert roles == [S, U, A, T, T, A, T, A]


@pytest.mark.parametrize(
    ("turns", "field", "role", "reason"),
    [
        (said((T, "1"), (A, "a")), "messages[0]", T, "must follow the assistant's"),
        (said((U, "q"), (T, "1"), (A, "a")), "messages[1]", T, "must follow the assistant's"),
        (
            said((U, "q"), (A, "f()"), (T, "1"), (U, "q"), (A, "a")),
            "messages[3]",
            U,
            "the assistant's turn was expected",
        ),
        (said((U, "q"), (A, "f()"), (T, "1")), "messages[2]", T, "the last turn must be the assistant's"),
        (said((U, "q"), (A, "a"), (A, "b")), "messages[2]", A, "the user's turn was expected"),
    ],
)
def test_tools_out_of_order(turns: list[Message], field: str, role: str, reason: str) -> None:
    with pytest.raises(BadRow, match=reason) as caught:
        demonstration("messages", {"messages": turns})
    assert (caught.value.field, caught.value.role) == (field, role)


@pytest.mark.parametrize(
    ("turn", "content"),
    [
        ({"content": None, "tool_calls": [CALL, CALL]}, f"{CALLED}\n{CALLED}"),
        ({"content": "I look.", "tool_calls": [CALL]}, f"I look.\n\n{CALLED}"),
        ({"content": "", "tool_calls": [CALL]}, CALLED),
        ({"content": None, "function_call": CALL["function"]}, CALLED),
        ({"content": None, "tool_calls": [{"name": "f", "arguments": "{cut"}]}, '{"name": "f", "arguments": "{cut"}'),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "tool_calls": None}, "a\n\nb"),
    ],
)
def test_what_an_assistant_calls_and_says_in_parts(turn: dict[str, Any], content: str) -> None:
    row = {"messages": [*said((U, "q")), {"role": A, **turn}]}
    assert demonstration("messages", row)["messages"] == said((U, "q"), (A, content))


@pytest.mark.parametrize(
    ("turn", "field", "reason"),
    [
        ({"content": [{"type": "image_url", "image_url": {}}]}, "content[0].type", "only parts that are text"),
        ({"content": [{"type": "text"}]}, "content[0].text", "found nothing"),
        ({"content": ["a"]}, "content[0]", "an object is expected"),
        ({"content": []}, "content", "the text is empty"),
        ({"content": None, "tool_calls": "f"}, "tool_calls", "a list is expected"),
        ({"content": None, "tool_calls": [{"function": {}}]}, "tool_calls[0].name", "found nothing"),
        ({"content": None, "tool_calls": []}, "content", "found nothing"),
    ],
)
def test_calls_and_parts_that_cannot_be_read(turn: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        demonstration("messages", {"messages": [*said((U, "q")), {"role": A, **turn}]})
    assert caught.value.field == f"messages[1].{field}"
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("tools", "text"),
    [
        ([{"name": "f"}, {"name": "g"}], '{"name": "f"}\n{"name": "g"}'),
        ('[{"name": "f"}]', '[{"name": "f"}]'),
        ("[]", ""),
        (None, ""),
        ([], ""),
    ],
)
def test_tools_are_joined_to_the_system_turn(tools: Any, text: str) -> None:
    row = {**from_value(("human", "q"), ("gpt", "a")), "tools": tools}
    alone = said((S, text)) if text else []
    assert demonstration("sharegpt", row)["messages"] == [*alone, *said((U, "q"), (A, "a"))]
    both = f"s\n\n{text}" if text else "s"
    assert demonstration("sharegpt", {**row, "system": "s"})["messages"][0]["content"] == both
    turns = {"messages": said((S, "s"), (U, "q"), (A, "a")), "tools": tools, "system": "unused"}
    assert demonstration("messages", turns)["messages"][0]["content"] == both


def test_who_wrote_and_corrected_is_kept_as_text() -> None:
    origin = {"id": "7", "writer": "big-model", "corrected_by": "ann"}
    turns = said((U, "q"), (A, "a"))
    assert demonstration("messages", {"messages": turns, **origin}) == {"messages": turns, **origin}
    assert demonstration("messages", {"messages": turns, "id": 7, "writer": " "}) == {"messages": turns}
    assert demonstration("sharegpt", {**from_value(("user", "q"), ("gpt", "a")), "id": "x"})["id"] == "x"


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (said((U, "a"), (U, "b"), (A, "c")), said((U, "a\n\nb"), (A, "c"))),
        (said((A, "hi"), (U, "q"), (A, "a")), said((U, "q"), (A, "a"))),
        (said((U, "q"), (A, "a"), (U, "thanks"), (S, "end")), said((S, "end"), (U, "q"), (A, "a"))),
        (said((S, "s"), (U, "q"), (S, "t"), (A, "a")), said((S, "s\n\nt"), (U, "q"), (A, "a"))),
        (said((U, "q"), (S, " "), (U, "r"), (A, "a"), (A, "b")), said((U, "q\n\nr"), (A, "a\n\nb"))),
        (
            said((U, "q"), (A, "f()"), (T, "1"), (T, "2"), (A, "a"), (A, "b"), (T, "3")),
            said((U, "q"), (A, "f()"), (T, "1"), (T, "2"), (A, "a\n\nb")),
        ),
    ],
)
def test_faults_of_order_are_mended_if_asked(turns: list[Message], expected: list[Message]) -> None:
    row, one = {"messages": turns}, format_named("messages", DEMONSTRATIONS)
    assert demonstrations_in(row, one, mend=True) == [({"messages": expected}, True)]
    with pytest.raises(BadRow):
        demonstrations_in(row, one, mend=False)


def test_what_cannot_be_mended_is_named_as_it_stands() -> None:
    row, one = {"messages": said((A, "hi"), (U, "q"), (T, "1"), (A, "a"))}, format_named("messages", DEMONSTRATIONS)
    with pytest.raises(BadRow) as caught:
        demonstrations_in(row, one, mend=True)
    assert (caught.value.field, caught.value.role) == ("messages[0]", A)


@settings(deadline=None)
@given(turns=any_turns)
def test_mending_is_idempotent_and_invents_nothing(turns: list[Message]) -> None:
    once = repair_order(turns)
    assert repair_order(once) == once
    kept = [word for turn in once for word in turn["content"].split()]
    given = [word for turn in turns for word in turn["content"].split()]
    assert all(kept.count(word) <= given.count(word) for word in kept)


@settings(deadline=None)
@given(turns=any_turns)
def test_without_tools_a_user_who_is_answered_is_enough_to_mend(turns: list[Message]) -> None:
    turns = [turn for turn in turns if turn["role"] != T]
    roles = "".join(turn["role"][0] for turn in turns if turn["role"] != S)
    if "ua" in roles:
        in_order(repair_order(turns), "messages", last="assistant")
    else:
        with pytest.raises(BadRow):
            in_order(repair_order(turns), "messages", last="assistant")


@settings(deadline=None)
@given(turns=conversations(tools=True))
def test_what_is_in_order_needs_no_mending(turns: list[Message]) -> None:
    assert repair_order(turns) == turns == in_order(turns, "messages", last="assistant")
