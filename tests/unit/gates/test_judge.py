"""A judge decides who wins only with a word about what it knows: warned of, stopped, or marked in the terminal."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.commands.closing import decided_by
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.errors import RequestError
from pipeline.gates.check import check_judge
from pipeline.gates.rules import judge_verdict, read_verdicts
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact

KNOWN = {"accuracy": 0.43, "accuracy_longer": 0.43, "test": 200.0}
RATE = {"dpo/win_rate": 0.8, "dpo/judge_reward": 1.0}


def judge(metrics: dict[str, float]) -> Artifact:
    return Artifact("reward", "aaaa", Path("nowhere"), {"metrics": metrics})


def context(folder: Path, gates: str) -> tuple[StageContext, list[str]]:
    said: list[str] = []
    runtime = Runtime(LaunchConfig(), 1, gates)
    return StageContext({}, folder, runtime, progress, said.append, lambda metrics, step: None), said


def test_a_judge_no_better_than_length_is_warned_of_and_its_figures_are_kept(tmp_path: Path) -> None:
    given, said = context(tmp_path, "warn")
    assert check_judge(given, judge(KNOWN)) == {
        "judge_accuracy": 0.43,
        "judge_accuracy_longer": 0.43,
        "judge_test": 200.0,
    }
    (remark,) = said
    assert "gate beats_length, at fault: judge. The judge ranks 0.43 [0.36, 0.50] of 200 held-out pairs" in remark
    assert (
        "“the shorter answer wins” 0.57: its accuracy is not shown to be above that of length. More pairs for the judge"
        in remark
    )
    (verdict,) = read_verdicts(tmp_path / "gates.json")
    assert not verdict.passed


def test_a_judge_at_chance_is_no_better_where_length_says_nothing() -> None:
    metrics = {"judge_accuracy": 0.51, "judge_accuracy_longer": 0.5, "judge_test": 400.0}
    assert not judge_verdict(metrics).passed
    assert judge_verdict({**metrics, "judge_accuracy": 0.8}).passed


def test_gates_stop_ends_before_any_answer_and_gates_off_says_nothing(tmp_path: Path) -> None:
    stopping_verdict, _ = context(tmp_path, "stop")
    with pytest.raises(RequestError, match="no answer is judged, since gates=stop and one gate warns"):
        check_judge(stopping_verdict, judge(KNOWN))
    check_judge(stopping_verdict, judge({**KNOWN, "accuracy": 0.9}))
    silent, said = context(tmp_path, "off")
    assert check_judge(silent, judge(KNOWN))
    assert not said


def test_a_judge_that_was_brought_along_is_unknown_and_that_is_said(tmp_path: Path) -> None:
    given, said = context(tmp_path, "warn")
    brought = dataclasses.replace(judge({}), manifest={"source": {"path": "my/judge"}})
    assert check_judge(given, brought) == {}
    assert said == ["my/judge: How often the judge ranks answers as people do is unknown: it is a model of your own."]


def test_the_closing_table_marks_what_such_a_judge_decides() -> None:
    figures = {"judge_accuracy": 0.43, "judge_accuracy_longer": 0.43, "judge_test": 200.0}
    marked = decided_by({**RATE, **figures})
    assert marked.endswith(" (not shown to be better than length: right on 0.43 of pairs, length on 0.57)")
    assert decided_by({**RATE, **figures, "judge_accuracy": 0.9}) == ", wins by the independent judge"
    assert decided_by({**RATE, **figures, "dpo/true_score": 1.0}) == ", wins by the true scorer"
