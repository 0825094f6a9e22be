"""Prompts without answers, and plain text: distinguished from demonstrations, with a message on the fault."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import BadRow
from pipeline.data.formats.detection import detect, format_named
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, PROMPTS, TEXTS
from pipeline.errors import RequestError
from tests.unit.data.raw_rows import A, S, U, said


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "q"}, said((U, "q"))),
        ({"prompt": said((S, "s"), (U, "q")), "id": "x", "score": 3}, said((S, "s"), (U, "q"))),
        ({"question": "q", "context": "about", "topic": "t"}, said((U, "q\n\nabout"))),
        ({"instruction": "i", "input": "", "system": "s"}, said((S, "s"), (U, "i"))),
        ({"Query": "q"}, said((U, "q"))),
    ],
)
def test_prompts_are_told_from_what_has_answers(row: dict[str, Any], messages: Any) -> None:
    assert detect([row], PROMPTS, Path("f")).convert(row) == [{"prompt": messages}]
    with pytest.raises(RequestError, match=r"It holds prompts \(prompts\), not demonstrations"):
        detect([row], DEMONSTRATIONS, Path("f"))


def test_text_is_a_prompt_only_by_name() -> None:
    with pytest.raises(RequestError, match=r"It holds texts"):
        detect([{"text": "once"}], PROMPTS, Path("f"))
    one = format_named("prompts", PROMPTS)
    assert one.convert({"text": "once"}) == [{"prompt": said((U, "once"))}]
    with pytest.raises(BadRow, match="the last turn must be the user's"):
        one.convert({"prompt": said((U, "q"), (A, "a"))})


def test_plain_text_says_what_is_missing() -> None:
    row = {"text": "Once upon a time.", "url": "x", "id": "1"}
    for formats in (DEMONSTRATIONS, JUDGEMENTS):
        with pytest.raises(RequestError) as caught:
            detect([row], formats, Path("f"))
        assert "It holds texts (text)" in str(caught.value)
        assert "Plain text has no prompt and no answer;" in str(caught.value)
    assert detect([row], TEXTS, Path("f")).convert(row) == ["Once upon a time."]


@pytest.mark.parametrize("row", [{"prompt": "q", "reply": "a"}, {"text": "once", "summary": "twice"}])
def test_an_answer_under_a_strange_name_is_not_overlooked(row: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="Nearest format"):
        detect([row], DEMONSTRATIONS, Path("f"))
