"""A prompt and its answer: names, objects and texts; labels do not count as answers."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS, demonstrations_in
from pipeline.errors import RequestError
from tests.unit.data.preparing import load_demonstrations
from tests.unit.data.raw_rows import A, S, U, demonstration, said
from tests.unit.data.test_loading import lines


def read(row: dict[str, Any]) -> list[Any]:
    """The messages of each demonstration of a row, in the format that it is found to be in."""
    return [found["messages"] for found, _ in demonstrations_in(row, detect([row], DEMONSTRATIONS, Path("f")), False)]


@pytest.mark.parametrize(
    "row",
    [
        *({"inputs": "q", "targets": "a", "task": "t"}, {"Problem": "q", "Solution": "a", "answer": "7"}),
        *({"user": "q", "assistant": "a"}, {"human": "q", "bot": "a"}, {"question": "q", "solution": "a"}),
        {"prompt": "q", "response": "a", "chosen": "a", "rejected": "b"},
        {"input": said((U, "q")), "output": {"role": "assistant", "content": "a"}},
        {"input": {"messages": said((U, "q"))}, "output": "a"},
        {"input": {"question": "q"}, "output": {"answer": "a"}},
        {"input": {"messages": said((U, "q"))}, "output": {"choices": [{"message": said((A, "a"))[0]}]}},
        {"conversation": said((U, "q"), (A, "a")), "conversation_hash": "x", "model": "m"},
        {"Dialogue": [{"speaker": "human", "text": "q"}, {"speaker": "bot", "text": "a"}]},
        {"messages": [{"user": "q", "assistant": "a"}]},
        {"conversations": [{"human": "q"}, {"gpt": "a", "human": None}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "value": "q"}]}, *said((A, "a"))]},
    ],
)
def test_names_and_objects_in_use(row: dict[str, Any]) -> None:
    assert read(row) == [said((U, "q"), (A, "a"))]


def test_tools_and_system_of_a_request() -> None:
    request = {"messages": said((U, "q")), "tools": [{"name": "f"}], "system": "s", "model": "m"}
    expected = said((S, 's\n\n{"name": "f"}'), (U, "q"), (A, "a"))
    for key, answer in (("input", "output"), ("inputs", "outputs")):
        assert read({key: request, answer: {"role": A, "content": "a"}}) == [expected]
        assert read({key: request, answer: "a", "tools": [{"name": "f"}], "system": "s"}) == [expected]


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (7, "7"), (2.5, "2.5"), (False, "false"), (0, "0")])
def test_numbers_and_truths_are_texts(value: Any, text: str) -> None:
    assert demonstration("prompt_completion", {"prompt": "q", "completion": value})["messages"][1]["content"] == text
    assert demonstration("prompt_completion", {"prompt": value, "completion": "a"})["messages"][0]["content"] == text
    assert demonstration("alpaca", {"instruction": "i", "output": value})["messages"][1]["content"] == text
    assert demonstration("messages", {"messages": said((U, "q"), (A, value))})["messages"][1]["content"] == text


@pytest.mark.parametrize(
    ("value", "name"), [(float("nan"), "NaN"), (float("inf"), "an infinite number"), (None, "nothing")]
)
def test_what_stands_for_nothing_is_no_text(value: Any, name: str) -> None:
    with pytest.raises(BadRow, match=f"text is expected, found {name}"):
        demonstration("prompt_completion", {"prompt": "q", "completion": value})


def test_reasoning_beside_an_answer_and_in_its_turn() -> None:
    expected = [*said((U, "q")), {"role": A, "content": "a", "reasoning_content": "because"}]
    for key in ("reasoning", "Reasoning_Content", "thinking"):
        assert read({"prompt": "q", "response": "a", key: "because"}) == [expected]
        assert read({"instruction": "q", "input": "", "output": "a", key: "because"}) == [expected]
    for key in ("reasoning", "reasoning_content", "thinking"):
        assert read({"messages": [*said((U, "q")), {"role": A, "content": "a", key: "because"}]}) == [expected]
    with pytest.raises(BadRow, match="several texts could be the reasoning"):
        read({"messages": [*said((U, "q")), {"role": A, "content": "a", "reasoning": "x", "thinking": "y"}]})
    with pytest.raises(BadRow, match="several columns could be the reasoning"):
        read({"prompt": "q", "response": "a", "reasoning": "x", "thinking": "y"})


def rendered(begin: str, asker: str, answerer: str, end: str) -> str:
    """A prompt as a template writes it, up to where the assistant begins to answer."""
    turns = [(asker, "q"), (answerer, "which?"), (asker, "this")]
    return begin + "".join(f"{speaker}{said}{end}" for speaker, said in turns) + answerer


LLAMA_3 = [f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant")]
TRANSCRIPTS = {
    "hh": rendered("", "\n\nHuman: ", "\n\nAssistant: ", "").rstrip(),
    "tight": "User: q\nAssistant: which?\nUser: this\nAssistant:",
    "openassistant": "### Human: q### Assistant: which?### Human: this### Assistant:",
    "guanaco": "### Human: q\n### Assistant: which?\n### Human: this\n### Assistant:",
    "alpaca": rendered("", "### Instruction:\n", "### Response:\n", "\n\n"),
    "llama 2": "<s>[INST] q [/INST] which? </s><s>[INST] this [/INST]",
    "llama 3": rendered("<|begin_of_text|>", *LLAMA_3, "<|eot_id|>"),
    "chatml": rendered("", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"),
    "gemma": rendered("<bos>", "<start_of_turn>user\n", "<start_of_turn>model\n", "<end_of_turn>\n"),
    "zephyr": rendered("", "<|user|>\n", "<|assistant|>\n", "</s>\n"),
    "vicuna": "USER: q ASSISTANT: which?</s>USER: this ASSISTANT:",
}


@pytest.mark.parametrize("prompt", TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_a_prompt_that_a_template_wrote_is_turns(prompt: str) -> None:
    turns = said((U, "q"), (A, "which?"), (U, "this"), (A, "a"))
    for answer in ("a", " a ", " a</s>", "a<|im_end|>\n"):
        for row in ({"prompt": prompt, "completion": answer}, {"instruction": prompt, "output": answer}):
            assert read(row) == [turns]
        assert read({"prompt": prompt, "chosen": answer, "rejected": "b"}) == [turns]
    if "Human:" not in prompt or "###" in prompt:
        assert read({"text": prompt + "a"}) == [turns]


def test_preambles_and_systems_of_transcripts_are_the_systems() -> None:
    below = "Below is an instruction that describes a task."
    row = {"prompt": f"{below}\n\n### Instruction:\ndo\n\n### Input:\nthis\n\n### Response:", "completion": "a"}
    assert read(row) == [said((S, below), (U, "do\n\nthis"), (A, "a"))]
    row = {"prompt": "[INST] <<SYS>>\ns\n<</SYS>>\n\nq [/INST]", "completion": "a"}
    assert read(row) == [said((S, "s"), (U, "q"), (A, "a"))]
    row = {
        "prompt": "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
        "completion": "a",
    }
    assert read(row) == [said((S, "s"), (U, "q"), (A, "a"))]


@pytest.mark.parametrize(
    "prompt",
    [
        "Human: hi\nAssistant: hello\nSum this dialogue up.",
        "What does ### Instruction:\nx\n### Response: mean?",
        "Explain <|im_start|>user\n and <|im_start|>assistant\n to me.",
        "Is [INST] a token?",
        "Human: what is left?",
    ],
)
def test_what_only_quotes_a_transcript_stays_text(prompt: str) -> None:
    assert read({"prompt": prompt, "completion": " a "}) == [said((U, prompt), (A, " a "))]


def prodigy(**more: Any) -> dict[str, Any]:
    options = [{"id": "a", "text": "good"}, {"id": "b", "text": "bad"}]
    return {"prompt": "q", "options": options, "accept": ["a"], "answer": "accept", **more}


def test_the_accepted_option_is_the_answer() -> None:
    assert read(prodigy()) == [said((U, "q"), (A, "good"))]
    assert read(prodigy(accept=["b"])) == [said((U, "q"), (A, "bad"))]
    assert read(prodigy(accept=["a", "b"])) == [said((U, "q"), (A, "good")), said((U, "q"), (A, "bad"))]
    for more in ({"answer": "reject"}, {"answer": "ignore"}, {"accept": []}):
        with pytest.raises(LeftOut):
            read(prodigy(**more))
    with pytest.raises(BadRow, match="not among the options"):
        read(prodigy(accept=["c"]))


def test_a_verdict_is_no_answer() -> None:
    assert read({"prompt": "q", "response": "a", "answer": "accept"}) == [said((U, "q"), (A, "a"))]
    for verdict in ("reject", "ignore"):
        with pytest.raises(LeftOut, match=verdict):
            read({"prompt": "q", "response": "a", "answer": verdict})
    with pytest.raises(RequestError, match="not recognised"):
        read({"prompt": "q", "answer": "accept"})


def test_a_column_that_names_another_is_no_answer() -> None:
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "chosen": "response_a"}
    with pytest.raises(RequestError, match=r"not recognised|It holds"):
        detect([row], DEMONSTRATIONS, Path("f"))


@pytest.mark.parametrize(
    "values", [("A", "B"), ("1", "2"), (0, 1), ("model_a", "model_b"), ("good", "bad"), ("yes", "no")]
)
def test_a_column_of_labels_is_refused_with_its_values(values: tuple[Any, Any], tmp_path: Path) -> None:
    rows = [{"question": f"What is {number}?", "answer": values[number % 2]} for number in range(30)]
    file = lines(tmp_path, *rows)
    with pytest.raises(RequestError) as caught:
        load_demonstrations(file)
    assert all(str(value) in str(caught.value) for value in values)
    assert "data.columns.completion=answer" in str(caught.value)
    assert len(load_demonstrations(file, format="prompt_completion")[0]) == 30


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a", "images": ["x.png"]},
        {"prompt": "q", "completion": "a", "image": {"bytes": "x"}},
        {"prompt": "<image>\nWhat is this?", "completion": "a"},
        {"messages": said((U, "What is in <image> here?"), (A, "a"))},
        {"conversations": [{"from": "human", "value": "<video>\nq"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_rows_with_pictures_are_left_out_with_their_reason(row: dict[str, Any]) -> None:
    with pytest.raises(BadRow, match="pictures, sound and films cannot be used"):
        read(row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How does the <video> tag work?", "completion": "a", "images": [], "audio": None, "video": False},
        {"prompt": "What does `<image>` do?", "completion": "a"},
        {"prompt": "Is <image>x</image> right?", "completion": "a"},
    ],
)
def test_words_about_pictures_are_text(row: dict[str, Any]) -> None:
    assert read(row)[0][0]["content"] == row["prompt"]
