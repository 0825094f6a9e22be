"""docs/extending.md, carried out: its code is run as it stands there."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from labeling import questions
from labeling.backends import Place
from pipeline.config import compose
from pipeline.config.fields import number, roles
from pipeline.config.nodes import demonstrations
from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import DEMONSTRATIONS, Format, demonstrations_in
from pipeline.stage import FromStage, Stage
from tests.labeling_backends import assert_kept
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
    ast.parse(code.replace("return ", "_ = ") if code.startswith("options") else code)


def test_the_stage_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = executed(snippet("@dataclass"), dataclass=dataclass, number=number, roles=roles)["LengthsConfig"]
    monkeypatch.setattr(demonstrations, "LengthsConfig", made, raising=False)
    stage: Stage = executed(snippet('"""`lengths`'))["STAGE"]
    (tmp_path / "sft.jsonl").write_text('{"messages": [{"role": "assistant", "content": "It leaks."}]}\n')
    data = SimpleNamespace(file=lambda name: tmp_path / name)
    context: Any = SimpleNamespace(inputs={"data": data}, output_dir=tmp_path)
    metrics = stage.run(made(), context)
    assert metrics == {"rows": 1, "mean": 2}
    assert stage.summary(metrics) == "1 answers of 2.0 words"
    assert stage.inputs(compose.load([])) == {"data": FromStage("data")}
    assert (tmp_path / "lengths.jsonl").is_file()


def test_the_loss_is_its_equation() -> None:
    import torch
    from torch.nn import functional

    from pipeline.modeling.preferences.losses import LOSSES, Pairs

    names = {"Pairs": Pairs, "Number": float, "Tensor": torch.Tensor, "F": functional}
    slic = executed(snippet("def slic"), **names)["slic"]
    assert "slic" not in LOSSES  # it is new
    chosen, rejected, reference = torch.tensor([-1.0, -5.0]), torch.tensor([-4.0, -2.0]), torch.zeros(2)
    pairs = Pairs(chosen, rejected, reference, reference, torch.ones(2), torch.ones(2))
    assert slic(pairs, 0.1).tolist() == pytest.approx([1 - 0.3, 1 + 0.3])


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
    module["prepare"](Place(tmp_path, print), Event())
    assert_kept(module["open_backend"], tmp_path)


def test_the_question_comes_back_as_the_ranks_that_went_out() -> None:
    """Run among the names of labeling/questions.py, where it has to stand."""
    shown, sent, read, known = snippet("options = ").split("\n\n")
    names = {**vars(questions), "letters": "ABC", "size": 3, "ranks": [2, 1, 3], "comment": ""}
    settings = executed(shown, **names)["questions"]
    assert [option["value"] for option in settings[0]["settings"]["options"]] == ["A", "B", "C"]
    raw = executed(sent, **names)["raw"]
    values = {name: given["value"] for name, given in raw.items()}
    assert executed(read.replace("return ", "found = "), **names, values=values)["found"].ranks == [2, 1, 2]
    assert executed(known.replace("return ", "found = "), values=raw)["found"] == [True, False] + [True] * 8
