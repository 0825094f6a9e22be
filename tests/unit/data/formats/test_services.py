"""What came before a prompt, calls of tools, parts and channels, as services and data sets write them."""

from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.table import DEMONSTRATIONS
from pipeline.data.formats.thoughts import REASONING
from tests.unit.data.raw_rows import A, T, U, demonstration, said

PAST = said((U, "hi"), (A, "hello"))
CALL = '{"name": "look", "arguments": {"at": 1}}'


@pytest.mark.parametrize("key", ["history", "chat_history", "chatHistory", "conversation_history", "previous_messages"])
@pytest.mark.parametrize(
    "past", [[["hi", "hello"]], PAST, [{"role": "USER", "message": "hi"}, {"role": "CHATBOT", "message": "hello"}]]
)
@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("alpaca", {"instruction": "q", "output": "a"}),
        ("prompt_completion", {"prompt": "q", "completion": "a"}),
        ("openorca", {"system_prompt": "", "question": "q", "response": "a"}),
        ("kto", {"prompt": "q", "completion": "a", "label": True}),
        ("log", {"prompt": "q", "response": "a", "feedback": "good"}),
        ("log", {"prompt": "q", "response": "b", "edited_response": "a"}),
    ],
)
def test_what_came_before_the_prompt_is_part_of_it(key: str, past: Any, form: str, row: dict[str, Any]) -> None:
    assert [one.name for one in DEMONSTRATIONS if one.matches({**row, key: past})] == [form]
    assert demonstration(form, {**row, key: past})["messages"] == [*PAST, *said((U, "q"), (A, "a"))]
    for nothing in ([], None, "World War II"):
        assert demonstration(form, {**row, key: nothing})["messages"] == said((U, "q"), (A, "a"))


def test_a_history_that_is_not_understood_costs_the_row() -> None:
    with pytest.raises(BadRow, match="a question and its answer are expected"):
        demonstration("prompt_completion", {"prompt": "q", "completion": "a", "history": [["hi"]]})


@pytest.mark.parametrize("key", ["arguments", "args", "parameters"])
def test_an_answer_may_be_calls_of_tools(key: str) -> None:
    row = {"query": "q", "answers": [{"name": "look", key: {"at": 1}}] * 2, "tools": [{"name": "look"}]}
    assert demonstration("prompt_completion", row)["messages"][-1] == said((A, f"{CALL}\n{CALL}"))[0]


def test_the_best_of_several_answers_with_scores_is_not_guessed() -> None:
    row = {"question": "q", "answers": {"text": ["a", "b"], "score": [1, 9]}}
    with pytest.raises(BadRow, match="several answers with scores"):
        demonstration("prompt_completion", row)
    for one in ({"text": ["a"], "score": [1]}, {"text": ["a", "b"], "answer_start": [3, 9]}):
        assert demonstration("prompt_completion", {**row, "answers": one})["messages"][1]["content"] == "a"


def test_parts_by_their_keys() -> None:
    call, result = {"toolUse": {"toolUseId": "1", "name": "look", "input": {"at": 1}}}, {"content": [{"text": "seen"}]}
    turns = [
        {"role": U, "content": [{"text": "q"}, {"cachePoint": {"type": "default"}}]},
        {"role": A, "content": [{"reasoningContent": {"reasoningText": {"text": "why"}}}, call]},
        {"role": U, "content": [{"toolResult": result}]},
        {"role": A, "content": [{"text": "a"}]},
    ]
    expected = said((U, "q"), (A, CALL), (T, "seen"), (A, "a"))
    expected[1]["reasoning_content"] = "why"
    assert demonstration("messages", {"messages": turns})["messages"] == expected
    for media in ("image", "document", "video"):
        with pytest.raises(BadRow, match="only parts that are text"):
            demonstration("messages", {"messages": [{"role": U, "content": [{"text": "q"}, {media: {}}]}, turns[3]]})


def test_what_is_said_in_the_channel_of_analysis_is_reasoning() -> None:
    thinks, says = {"role": A, "channel": "analysis", "content": "why"}, {"role": A, "channel": "final", "content": "a"}
    answer = {**said((A, "a"))[0], "reasoning_content": "why"}
    user = said((U, "q"))
    assert demonstration("messages", {"messages": [*user, thinks, says]})["messages"] == [*user, answer]
    assert demonstration("messages", {"messages": [*user, says]})["messages"] == [*user, *said((A, "a"))]
    unlearned = {"messages": [*user, thinks, {**says, "weight": 0}, *user, says]}
    assert demonstration("messages", unlearned)["messages"][1] == {**answer, "train": False}
    for turns in ([*user, thinks], [*user, {**says, "channel": "aside"}]):
        with pytest.raises(BadRow):
            demonstration("messages", {"messages": turns})


@pytest.mark.parametrize("key", [*REASONING, "Complex_CoT"])
def test_reasoning_under_its_names(key: str) -> None:
    found = demonstration("prompt_completion", {"prompt": "q", "completion": "a", key: "why"})
    assert found["messages"][1] == {**said((A, "a"))[0], "reasoning_content": "why"}
