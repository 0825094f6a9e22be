"""Conversations written as one text."""

from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.transcripts import is_transcript, transcript
from tests.unit.data.raw_rows import A, U, demonstration, said

QUOTED = "He wrote:\nHuman: x\nAssistant: y"


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("\n\nHuman: q\n\nAssistant: a", said((U, "q"), (A, "a"))),
        ("User: q\n\nAssistant: a", said((U, "q"), (A, "a"))),
        ("Human: q\nAssistant: a\nHuman: r\nAssistant: b", said((U, "q"), (A, "a"), (U, "r"), (A, "b"))),
        ("User: q\n\nand r\nAssistant: a\n\nb", said((U, "q\n\nand r"), (A, "a\n\nb"))),
        ("Human: q\r\n\r\nAssistant: a", said((U, "q"), (A, "a"))),
        (
            "\n\nHuman: q\n\nAssistant: He wrote:\nHuman: x\nAssistant: y",
            said((U, "q"), (A, "He wrote:\nHuman: x\nAssistant: y")),
        ),
        ("\n\nHuman: q\n\nAssistant: a\n\nUser: x", said((U, "q"), (A, "a\n\nUser: x"))),
    ],
)
def test_speakers_begin_turns(text: str, turns: Any) -> None:
    assert is_transcript(text)
    assert transcript(text, "text") == turns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Human: q",
        "He said:\nHuman: q\nAssistant: a",
        "The Human: q and the Assistant: a",
        "Human q\n\nAssistant a",
        3,
    ],
)
def test_other_text_is_no_transcript(text: Any) -> None:
    assert not is_transcript(text)


def test_text_before_the_first_speaker_is_refused() -> None:
    with pytest.raises(BadRow, match="there is text before the first 'Human:'"):
        transcript("Once.\n\nHuman: q\n\nAssistant: a", "text")


@pytest.mark.parametrize(
    "text",
    [
        "<|header_start|>user<|header_end|>\n\nq<|eot|><|header_start|>assistant<|header_end|>\n\nyes!<|eot|>",
        "<|prompter|>q<|endoftext|><|assistant|>yes!<|endoftext|>",
        "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜>yes!<｜end▁of▁sentence｜>",
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>q<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>yes!<|END_OF_TURN_TOKEN|>",
        "<|im_start|>human\nq<|im_end|>\n<|im_start|>gpt\nyes!<|im_end|>",
        "### Question: q\n### Answer: yes!",
        "### Instruction\nq\n\n### Response\nyes!",
    ],
)
def test_more_templates(text: str) -> None:
    turns = said((U, "q"), (A, "yes!"))
    assert demonstration("hh", {"text": text})["messages"] == turns
    prompt, answer, end = text.partition("yes!")
    assert demonstration("prompt_completion", {"prompt": prompt, "completion": answer + end})["messages"] == turns
