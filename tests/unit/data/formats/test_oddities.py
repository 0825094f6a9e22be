"""Odd texts are counted and reported, and never changed."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.oddities import odd_texts
from pipeline.data.formats.remarks import remarks_on
from pipeline.data.formats.table import DEMONSTRATIONS
from pipeline.data.formats.watching import WatchedRow
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, U, demonstration, said
from tests.unit.data.test_loading import lines

ASKED = "What is the capital of France?"


def told(asked: str, answer: str) -> list[str]:
    return sorted(odd_texts(said((U, asked), (A, answer))))


@pytest.mark.parametrize(
    "text", ["nan", "NULL", "None", "N/A", " n/a ", "#N/A", "#NAME?", "undefined", "[deleted]", "-"]
)
def test_answers_that_may_be_empty_cells(tmp_path: Path, text: str) -> None:
    assert told(ASKED, text) == [f"an answer is {text.strip()!r}, as an empty cell may be written: learned unchanged"]
    (row,), _, _ = load_demonstrations(lines(tmp_path, {"prompt": ASKED, "completion": text}))
    assert row["messages"][1]["content"] == text


@pytest.mark.parametrize("text", ["No.", "42", "Nanny", "null and void", "none of them"])
def test_short_answers_are_not_odd(text: str) -> None:
    assert told(ASKED, text) == []


def test_an_answer_that_repeats_its_question() -> None:
    echo = ["an answer begins with its question, word for word: both are learned"]
    assert told(ASKED, f"{ASKED} Paris.") == told(ASKED, f"\n{ASKED}\n\nParis.") == echo
    assert told("Hello", "Hello, and welcome.") == told(ASKED, "Paris.") == []


@pytest.mark.parametrize(
    "answer",
    [
        f"Human: {ASKED}\n\nAssistant: Paris.",
        f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\nParis.<|im_end|>",
        f"### Instruction:\n{ASKED}\n\n### Response:\nParis.",
        "Paris.\n\nHuman: Thanks\n\nAssistant: Welcome",
    ],
)
def test_an_answer_in_which_others_speak(answer: str) -> None:
    assert "an answer is a transcript of several speakers: learned as one answer" in told(ASKED, answer)


@pytest.mark.parametrize("asked", [f"User: {ASKED}\nBot:", f"{ASKED}\nAI:", f"<human>: {ASKED}", f"### User: {ASKED}"])
def test_names_of_speakers_that_stay(asked: str) -> None:
    assert any("a question begins or ends with the name of a speaker" in one for one in told(asked, "Paris."))
    assert any("an answer begins or ends with the name of a speaker" in one for one in told(ASKED, "Assistant: Paris."))


@pytest.mark.parametrize("mark", ["<|eot|>", "<|end_of_turn|>", "[INST]", "<start_of_turn>", "<｜User｜>"])
def test_marks_of_templates_that_stay(mark: str) -> None:
    assert any("a question holds marks of a chat template" in one for one in told(f"{mark}{ASKED}", "Paris."))
    assert any("an answer holds marks of a chat template" in one for one in told(ASKED, f"Paris.{mark}"))


def test_only_a_prompt_that_was_read_as_turns_is_told_to_be() -> None:
    waiting = "Human: hi\n\nAssistant:"
    form = {one.name: one for one in DEMONSTRATIONS}
    for name, row, expected in (
        ("prompt_completion", {"prompt": waiting, "completion": "a"}, True),
        ("alpaca", {"instruction": waiting, "input": "", "output": "a"}, True),
        ("alpaca", {"instruction": "Go on.", "input": waiting, "output": "a"}, False),
    ):
        watched = WatchedRow(row)
        (turns,) = form[name].convert(watched)
        assert (turns.messages[0]["content"] == "hi") == expected
        assert any("read as turns" in one for one in remarks_on(watched)) == expected


SHOWN = [
    *(
        "<image>\n{}",
        "<image_1> {}",
        "<img_2> {}",
        "<|image|>{}",
        "<|image_pad|>{}",
        "<|vision_start|>{}",
        "<img>a.jpg</img>{}",
    ),
    *("![x](data:image/png;base64,AAAA) {}", "<video> {}", "data:audio/wav;base64,AAAA {}"),
]


@pytest.mark.parametrize("shown", SHOWN)
def test_questions_that_show_something_are_left_out(shown: str) -> None:
    for row in (
        {"prompt": shown.format(ASKED), "completion": "a"},
        {"prompt": f"`{shown.format(ASKED)}`", "completion": "a"},
    ):
        if row["prompt"].startswith("`") and "\n" not in shown:
            demonstration("prompt_completion", row)  # in code it is text
        else:
            with pytest.raises(BadRow, match="pictures"):
                demonstration("prompt_completion", {"prompt": shown.format(ASKED), "completion": "a"})


@pytest.mark.parametrize(
    "key", ["image", "img", "images", "image_file", "photo", "picture_url", "video_path", "audio_b64"]
)
def test_columns_and_keys_of_turns_with_pictures(key: str) -> None:
    turns: list[dict[str, Any]] = [{"role": U, "content": ASKED}, {"role": A, "content": "a"}]
    for row in ({"messages": turns, key: ["x.png"]}, {"messages": [{**turns[0], key: "x.png"}, turns[1]]}):
        with pytest.raises(BadRow, match="pictures"):
            demonstration("messages", row)
    demonstration("messages", {"messages": [{**turns[0], key: None}, {**turns[1], key: []}], key: None})


@pytest.mark.parametrize("text", ["nan", "NULL", "None", "<noinput>"])
def test_empty_cells_that_were_joined_are_told(tmp_path: Path, text: str) -> None:
    row = {"instruction": ASKED, "input": text, "system": text, "output": "Paris."}
    (found,), _, _ = load_demonstrations(lines(tmp_path, row))
    assert sorted(odd_texts(found["messages"])) == [
        f"a question ends with {text!r}, as an empty cell may be written: read unchanged",
        f"the system text is {text!r}, as an empty cell may be written: read unchanged",
    ]


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        ({"status": "rejected"}, True),
        ({"status": "completed"}, False),
        ({"finish_reason": "length"}, True),
        ({"finish_reason": "stop"}, False),
        ({"metadata": {"weight": 0}}, True),
        ({"metadata": {"deleted": True}}, True),
        ({"metadata": {"source": "x"}}, False),
        ({"feedback": "bad"}, True),
    ],
)
def test_what_a_turn_says_of_itself_is_told(turn: dict[str, Any], told: bool) -> None:
    row = WatchedRow({"messages": [{"role": U, "content": ASKED}, {"role": A, "content": "a", **turn}]})
    assert row["messages"]
    assert bool(remarks_on(row)) == told


def test_a_system_text_that_gives_way_is_told() -> None:
    form = {one.name: one for one in DEMONSTRATIONS}["messages"]
    turns = said(("system", "B"), (U, ASKED), (A, "a"))
    for text, told in (("A", True), ("B", False), ("", False)):
        row = WatchedRow({"system": text, "messages": turns})
        form.convert(row)
        assert any("`system` is not used" in one for one in remarks_on(row)) == told


@pytest.mark.parametrize("key", ["system", "System", "system_prompt", "systemPrompt", "system_message"])
def test_names_of_the_system_text(key: str) -> None:
    found = demonstration("prompt_completion", {key: "s", "prompt": ASKED, "completion": "a"})
    assert found["messages"][0] == {"role": "system", "content": "s"}


@pytest.mark.parametrize("tools", ["null", "None", "{}", "[]", "", None, []])
def test_tools_that_are_none(tools: Any) -> None:
    found = demonstration("prompt_completion", {"tools": tools, "prompt": ASKED, "completion": "a"})
    assert found["messages"] == said((U, ASKED), (A, "a"))


@pytest.mark.parametrize("masks", [{"loss_mask": [0, 0, 0, 1]}, {}])
def test_flags_of_turns_with_parts(masks: dict[str, Any]) -> None:
    turns = [
        {"role": role, "parts": [{"text": text}]} for role, text in ((U, "q"), ("model", "b"), (U, "r"), ("model", "a"))
    ]
    turns[1] |= {} if masks else {"weight": 0}
    expected = said((U, "q"), (A, "b"), (U, "r"), (A, "a"))
    expected[1]["train"] = False
    assert demonstration("gemini", {"contents": turns, **masks})["messages"] == expected
