"""Formats: each is told from its content, and demonstrations are read."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.detection import detect, format_named
from pipeline.data.formats.table import DEMONSTRATIONS, PREFERENCES, RANKINGS, demonstrations_in
from pipeline.data.rows import Demonstration, Message
from pipeline.errors import RequestError
from tests.unit.data.raw_rows import pair_of

U, A, S = "user", "assistant", "system"


HH = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why?\n\nAssistant:"


def demonstration(name: str, row: dict[str, Any]) -> Demonstration:
    ((found, mended),) = demonstrations_in(row, format_named(name, DEMONSTRATIONS), mend=False)
    assert not mended
    return found


def alpaca(row: dict[str, Any]) -> Demonstration:
    return demonstration("alpaca", row)


def sharegpt(row: dict[str, Any]) -> Demonstration:
    return demonstration("sharegpt", row)


def messages(row: dict[str, Any]) -> Demonstration:
    return demonstration("messages", row)


def prompt_completion(row: dict[str, Any]) -> Demonstration:
    return demonstration("prompt_completion", row)


def hh(row: dict[str, Any]) -> Demonstration:
    return demonstration("hh", row)


def preference(row: dict[str, Any]) -> Any:
    return pair_of("preferences", row)


def hh_pair(row: dict[str, Any]) -> Any:
    return pair_of("hh", row)


def said(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in turns]


ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "alpaca": ("alpaca", {"instruction": "i", "input": "", "output": "o", "text": "### Instruction: i"}),
    "sharegpt": (
        "sharegpt",
        {"id": "x", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ),
    "messages": ("messages", {"prompt": "q", "messages": said((U, "q"), (A, "a"))}),
    "messages and a pair": (
        "messages",
        {"prompt": "q", "messages": said((U, "q"), (A, "a")), "chosen": said((U, "q"), (A, "a")), "rejected": "b"},
    ),
    "messages with a label of their own": ("messages", {"messages": said((U, "q"), (A, "a")), "label": "maths"}),
    "messages under conversations": ("messages", {"conversations": said((U, "q"), (A, "a"))}),
    "prompt and completion": ("prompt_completion", {"prompt": "q", "completion": "a"}),
    "question and answer": ("prompt_completion", {"question": "q", "answer": "a"}),
    "transcript": ("hh", {"text": HH + " ok"}),
    "transcripts": ("hh", {"chosen": HH + " ok", "rejected": HH + " no"}),
}


JUDGED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rankings": ("rankings", "rankings", {"prompt": "q", "responses": ["a", "b"], "rankings": []}),
    "texts": ("preferences", "preferences", {"prompt": "q", "chosen": "a", "rejected": "b"}),
    "messages": (
        "preferences",
        "preferences",
        {"chosen": said((U, "q"), (A, "a")), "rejected": said((U, "q"), (A, "b"))},
    ),
    "transcripts": ("preferences", "hh", {"chosen": HH + " ok", "rejected": HH + " no"}),
}


@pytest.mark.parametrize(("name", "row"), ROWS.values(), ids=ROWS.keys())
def test_demonstrations_are_told_from_their_content(name: str, row: dict[str, Any]) -> None:
    assert detect([row], DEMONSTRATIONS, Path("f")).name == name
    assert demonstration(name, row)["messages"][-1]["role"] == A


@pytest.mark.parametrize(("kind", "name", "row"), JUDGED.values(), ids=JUDGED.keys())
def test_judgements_are_told_from_their_content(kind: str, name: str, row: dict[str, Any]) -> None:
    found = detect([row], (*RANKINGS, *PREFERENCES), Path("f"))
    assert (found.kind, found.name) == (kind, name)


def test_damaged_rows_do_not_outvote_the_others() -> None:
    good = {"instruction": "i", "output": "o"}
    assert (
        detect([{}, {"x": 1}, {"prompt": "q", "completion": "a"}, good, good, good], DEMONSTRATIONS, Path("f")).name
        == "alpaca"
    )


def test_an_ambiguous_file_names_the_candidates_and_the_keys() -> None:
    row = {"instruction": "i", "output": "o", "prompt": "q", "completion": "a"}
    with pytest.raises(RequestError) as caught:
        detect([row] * 3, DEMONSTRATIONS, Path("both.json"))
    text = str(caught.value)
    assert "both.json may be in several formats" in text
    assert "alpaca (3 rows), prompt_completion (3 rows)" in text
    assert "Keys found: instruction, output, prompt, completion" in text
    assert "format=alpaca" in text


def test_an_unknown_file_names_the_keys_and_the_nearest_format() -> None:
    with pytest.raises(RequestError) as caught:
        detect([{"Instructions": "i", "Outputs": "o"}], DEMONSTRATIONS, Path("odd.json"))
    text = str(caught.value)
    assert "The format of odd.json was not recognised. Keys found: Instructions, Outputs." in text
    assert "Nearest format: alpaca, which needs instruction + output." in text
    assert "format=auto|alpaca|sharegpt|messages|prompt_completion|hh" in text


def test_a_file_of_another_kind_says_so() -> None:
    with pytest.raises(RequestError, match=r"It holds rankings \(rankings\), not demonstrations"):
        detect([JUDGED["rankings"][2]], DEMONSTRATIONS, Path("f"))
    with pytest.raises(RequestError, match=r"It holds demonstrations \(alpaca\), not rankings or preferences"):
        detect([ROWS["alpaca"][1]], (*RANKINGS, *PREFERENCES), Path("f"))
    with pytest.raises(RequestError, match="None of its first rows is a JSON object"):
        detect([], DEMONSTRATIONS, Path("f"))


def test_a_format_named_by_hand() -> None:
    with pytest.raises(
        RequestError, match=r"There is no format 'alpacca'\. Did you mean alpaca\? Use data\.format=auto\|"
    ):
        format_named("alpacca", DEMONSTRATIONS)
    with pytest.raises(RequestError, match=r"data.format=rankings is for rankings; here demonstrations are wanted"):
        format_named("rankings", DEMONSTRATIONS)


def test_alpaca_with_everything() -> None:
    row = {"system": "s", "history": [["q1", "a1"]], "instruction": "i", "input": "about", "output": "o"}
    assert alpaca(row)["messages"] == said((S, "s"), (U, "q1"), (A, "a1"), (U, "i\n\nabout"), (A, "o"))


@pytest.mark.parametrize("blank", [{}, {"input": None, "system": None, "history": None}, {"input": " ", "system": ""}])
def test_alpaca_with_blanks(blank: dict[str, Any]) -> None:
    assert alpaca({"instruction": "i", "output": "o", **blank})["messages"] == said((U, "i"), (A, "o"))


def test_sharegpt_speakers_and_system() -> None:
    turns = [
        {"from": "system", "value": ""},
        {"from": "Human", "value": "q"},
        {"from": "chatgpt", "value": "a"},
    ]
    assert sharegpt({"conversations": turns})["messages"] == said((U, "q"), (A, "a"))
    assert sharegpt({"conversations": turns, "system": "s"})["messages"] == said((S, "s"), (U, "q"), (A, "a"))
    turns[0]["value"] = "own"
    assert sharegpt({"conversations": turns, "system": "s"})["messages"][0] == Message(role=S, content="own")


def test_texts_are_kept_as_they_are_but_for_transcripts() -> None:
    assert prompt_completion({"question": " q\n", "answer": " a"})["messages"] == said((U, " q\n"), (A, " a"))
    assert hh({"text": HH + "  ok\n"})["messages"] == said((U, "hi"), (A, "hello"), (U, "why?"), (A, "ok"))


def test_a_prompt_and_its_completion_as_messages() -> None:
    row = {"prompt": said((S, "s"), (U, "q")), "completion": said((A, "a"))}
    assert prompt_completion(row)["messages"] == said((S, "s"), (U, "q"), (A, "a"))


def turn(speaker: Any, text: Any) -> dict[str, Any]:
    return {"from": speaker, "value": text}


Q, R = turn("human", "q"), turn("gpt", "a")


@pytest.mark.parametrize(
    ("convert", "row", "field", "role", "reason"),
    [
        (alpaca, {"instruction": "i", "output": " "}, "output", A, "empty"),
        (alpaca, {"instruction": None, "output": "o"}, "instruction", U, "found nothing"),
        (alpaca, {"instruction": "i", "output": float("nan")}, "output", A, "found NaN"),
        (alpaca, {"instruction": "i", "output": ["x"]}, "output[0]", None, "found text"),
        (alpaca, {"instruction": "i", "output": "\ud800"}, "output", A, "surrogate"),
        (alpaca, {"instruction": "i", "input": ["x"], "output": "o"}, "input", U, "found a list"),
        (
            alpaca,
            {"instruction": "i", "output": "o", "history": [["q"]]},
            "history[0]",
            None,
            "a question and its answer",
        ),
        (alpaca, {"instruction": "i", "output": "o", "system": {}}, "system", S, "found an object"),
        (sharegpt, {"conversations": None}, "conversations", None, "a list is expected, found nothing"),
        (sharegpt, {"conversations": []}, "conversations", None, "empty"),
        (
            sharegpt,
            {"conversations": [Q, turn("narrator", "x")]},
            "conversations[1].from",
            "narrator",
            "unknown role",
        ),
        (sharegpt, {"conversations": [Q, turn(None, "x")]}, "conversations[1].from", None, "found nothing"),
        (
            sharegpt,
            {"conversations": [Q, turn("gpt", None)]},
            "conversations[1].value",
            "gpt",
            "found nothing",
        ),
        (
            sharegpt,
            {"conversations": [Q, R, Q]},
            "conversations[2]",
            U,
            "the last turn must be the assistant's",
        ),
        (sharegpt, {"conversations": [R, Q, R]}, "conversations[0]", A, "the user's turn was expected"),
        (
            sharegpt,
            {"conversations": [turn("system", "s"), Q, Q, R]},
            "conversations[2]",
            U,
            "must alternate",
        ),
        (sharegpt, {"conversations": [Q, turn("system", "s"), R]}, "conversations[1]", S, "must come first"),
        (
            sharegpt,
            {"conversations": [turn("system", "s")]},
            "conversations",
            None,
            "a turn of the assistant is missing",
        ),
        (sharegpt, {"conversations": ["q", "a"]}, "conversations[0]", None, "found text"),
        (
            messages,
            {"messages": [{"role": "critic", "content": "x"}]},
            "messages[0].role",
            "critic",
            "unknown role",
        ),
        (
            prompt_completion,
            {"prompt": "q"},
            None,
            None,
            "prompt + completion or prompt + response or question + answer",
        ),
        (
            prompt_completion,
            {"prompt": "q", "completion": "a", "response": "b"},
            "prompt + completion or prompt + response",
            None,
            "keep one",
        ),
        (
            prompt_completion,
            {"prompt": said((A, "a")), "completion": "a"},
            "prompt + completion[0]",
            A,
            "the user's turn",
        ),
        (hh, {"text": "Once. \n\nHuman: q\n\nAssistant: a"}, "text", None, "before the first"),
        (hh, {"text": HH}, "text[3].content", "Assistant", "empty"),
        (
            hh_pair,
            {"chosen": HH + " a", "rejected": "\n\nHuman: other\n\nAssistant: a"},
            "rejected",
            None,
            "one prompt",
        ),
        (preference, {"chosen": "a", "rejected": "b"}, "prompt", None, "the prompt is missing"),
        (preference, {"prompt": "q", "chosen": "a"}, "rejected", A, "found nothing"),
        (
            preference,
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2},
            "margin",
            None,
            "from 0 to 1",
        ),
        (
            preference,
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": True},
            "margin",
            None,
            "from 0 to 1",
        ),
        (
            preference,
            {"prompt": "x", "chosen": said((U, "q"), (A, "a")), "rejected": said((U, "q"), (A, "b"))},
            "prompt",
            None,
            "another prompt",
        ),
        (
            preference,
            {
                "chosen": said((U, "q"), (A, "a"), (U, "x"), (A, "y")),
                "rejected": said((U, "q"), (A, "a"), (U, "z"), (A, "y")),
            },
            "rejected",
            None,
            "one prompt",
        ),
    ],
)
def test_bad_rows_name_field_role_and_reason(
    convert: Any, row: dict[str, Any], field: str | None, role: str | None, reason: str
) -> None:
    with pytest.raises(BadRow) as caught:
        convert(row)
    assert (caught.value.field, caught.value.role) == (field, role)
    assert reason in caught.value.reason
    assert all(part in str(caught.value) for part in (field or "", role or "", reason))
