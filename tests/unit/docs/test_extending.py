"""docs/extending.md, carried out: its code is run as it stands there."""

import ast
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from labeling.backend import Answer, Queue, Round, progress
from labeling.backends import Place
from labeling.records import Task
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS, Format, demonstrations_in
from tests.places import ROOT
from tests.unit.docs.documents import blocks

PAGE = ROOT / "docs" / "extending.md"
SNIPPETS = [block.body for block in blocks(PAGE) if block.language == "python"]


@cache
def snippet(beginning: str) -> str:
    [found] = [body for body in SNIPPETS if body.startswith(beginning)]
    return found


def executed(code: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("code", SNIPPETS)
def test_every_snippet_is_python(code: str) -> None:
    ast.parse(code.replace("return Judgement", "Judgement"))


def test_the_format_is_recognized_and_read() -> None:
    module = executed(snippet('"""Pages of frequently asked questions'))
    [line] = [body for body in SNIPPETS if body.startswith("Format(")]
    faq: Format[Any] = eval(line, {**module, "Format": Format})
    row = {"faq_question": "Why?", "faq_answer": "Because."}
    assert detect([row], (*DEMONSTRATIONS, faq), Path("faq.jsonl")) is faq
    [(found, _)] = demonstrations_in(row, faq, mend=False)
    assert found["messages"] == [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def test_the_backend_asks_and_answers(tmp_path: Path) -> None:
    module = executed(snippet('"""Rounds in a folder'))
    asked = Round("w", "ranking", "Rank them.", [Queue("q", [Task(id="t", prompt=[], responses=["a", "b"])], 2)])
    given = [Answer(task="t", annotator=n, status="submitted", ranks=[1, 2], comment="") for n in ("bob", "ann")]
    module["prepare"](Place(tmp_path, print), Event())
    with module["open_backend"](Place(tmp_path, print)) as backend:
        assert (backend.publish(asked), backend.publish(asked)) == (1, 0)
        backend.submit(asked, given, lambda number: None)
        assert backend.answers(asked) == given[::-1]
        assert progress(asked, backend.answers(asked)).done


def test_the_question_comes_back_as_the_ranks_that_went_out() -> None:
    shown, sent, read = snippet("options = ").split("\n\n")
    letters = "ABC"
    asked = executed(shown, letters=letters, _asked=lambda name, title, settings: {"name": name, **settings})["asked"]
    assert [option["value"] for option in asked[0]["options"]] == [*letters]
    raw = executed(sent, ranks=[2, 1, 3], LETTERS=letters)["raw"]
    values = {name: given["value"] for name, given in raw.items()}
    read = read.replace("return Judgement", "found = Judgement")
    names = executed(read, letters=letters, values=values, size=3, comment="", Judgement=lambda ranks, comment: ranks)
    assert names["found"] == [2, 1, 2]
