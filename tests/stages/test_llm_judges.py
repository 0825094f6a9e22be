"""Language models as judges: a scripted endpoint of known verdicts, a policy, and a real `transformers serve`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.evaluation.winrates import win_rate
from tests.completions import Reply, completion, serving
from tests.stages.conftest import Chain

pytestmark = pytest.mark.slow

PARTS = re.compile(r"\[Question\]\n.*\n\n\[Answer A\]\n(.*)\n\n\[Answer B\]\n(.*)\n\n\[End\]", re.DOTALL)


@pytest.fixture
def arms(tmp_path: Path) -> tuple[str, ...]:
    """Two policies, and rankings by two people who always prefer the longer answer."""
    file = tmp_path / "rankings.jsonl"
    ranks = [{"annotator": name, "ranks": [2, 1]} for name in ("ann", "bob")]
    rows = [
        {"id": f"{n}", "prompt": f"Why {n}?", "responses": [f"No {n}.", f"It is {n}, I think."], "rankings": ranks}
        for n in range(40)
    ]
    write_jsonl(file, rows)
    long = "base.context=1024"  # a judge reads two answers and the question about them
    return ("evaluate.policies=[base,sft]", long, f"preferences.inputs.rankings={file}")


def the_longer(request: str, before: int) -> Reply:
    first, second = map(len, PARTS.search(request).groups())  # type: ignore[union-attr]
    return completion(f"Verdict: {'tie' if first == second else 'A' if first > second else 'B'}")


def always_the_first(request: str, before: int) -> Reply:
    return completion("Verdict: A")


def judges(*urls: str) -> str:
    return f"evaluate.judges=[{','.join(f'{{judge: {url}, model: m{place}}}' for place, url in enumerate(urls))}]"


def test_a_judge_that_agrees_with_people_is_believed_and_one_that_follows_the_order_is_not(
    chain: Chain, arms: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(the_longer) as agrees, serving(always_the_first) as follows:
        made = chain.make("compare", *arms, judges(agrees.url, follows.url))
    assert "What a language model says: m0" in made.file("report.html").read_text()
    figures = made.inputs["judges"].metrics
    assert (figures["m0/agreement"], figures["m0/people"], figures["m0/longer"]) == (1, 1, 1)
    assert figures["m0/longer_by_people"] == figures["m0/readable"] == figures["m0/same_in_both_orders"] == 1
    assert (figures["m1/agreement"], figures["m1/first_shown"], figures["m1/same_in_both_orders"]) == (0.5, 1, 0)
    assert (figures["m1/base/win_rate"], figures["m1/same/win_rate"]) == (0.5, 0.5)
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"m1 agrees with people 0\.50 \S+ \S+ people agree with each other 1\.00, which is no better", said
    )
    answers = [row["answers"] for row in read_jsonl(made.inputs["evaluation"].file("answers.jsonl"))]
    lengths = [[len(row[name]["text"]) for row in answers] for name in ("base", "sft")]
    assert figures["m0/base/win_rate"] == pytest.approx(win_rate(*lengths).value)


def test_a_policy_can_judge_and_what_cannot_be_read_is_said(
    chain: Chain, arms: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("llm_judges.prompts=3", "llm_judges.pairs=3", "llm_judges.decoding.max_new_tokens=4")
    made = chain.make("llm_judges", *arms, "evaluate.judges=[{judge: sft, name: self}]", *few)
    (figures,) = json.loads(made.file("judges.json").read_text())
    assert figures["name"] == "self"
    assert figures["readable"] < 1  # an untrained model writes no verdicts
    assert figures["questions"] == 2 * (3 + 3 + 3)
    assert figures["tokens"] > 0
    assert "verdicts can be read" in " ".join(capsys.readouterr().out.split())


def test_the_address_of_a_judge_changes_no_version_and_its_name_does(chain: Chain, arms: tuple[str, ...]) -> None:
    with serving(always_the_first) as one, serving(always_the_first) as other:
        first = chain.make("llm_judges", *arms, judges(one.url))
        assert chain.make("llm_judges", *arms, judges(other.url)).version == first.version
        assert not other.seen
        assert chain.make("llm_judges", *arms, judges(other.url).replace("m0", "m7")).version != first.version
    assert first.inputs["evaluation"].version == chain.make("evaluate", *arms).version


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[{judge: https://host/v1}]", "evaluate.judges[0].model has to be given"),
        ("[{judge: sft, model: x}]", "only behind an endpoint"),
        ("[{judge: sft}, {judge: sft}]", "another judge is called 'sft'"),
        ("[{judge: 'https://me:secret@host/v1', model: x}]", "credential"),
        ("[{judge: sfft}]", "Did you mean 'sft'?"),
    ],
)
def test_judges_that_cannot_be_asked_are_refused(
    chain: Chain, arms: tuple[str, ...], given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chain.run("stage=llm_judges", *arms, f"evaluate.judges={given}") == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_real_endpoint_judges(chain: Chain, arms: tuple[str, ...], served_by_others: str) -> None:
    model = chain.make("sft", *arms).path / "model"
    few = ("llm_judges.prompts=2", "llm_judges.pairs=2", "llm_judges.decoding.max_new_tokens=4")
    judge = f"evaluate.judges=[{{judge: '{served_by_others}', model: '{model}', name: real}}]"
    made = chain.make("llm_judges", *arms, judge, "llm_judges.concurrency=2", *few)
    (figures,) = json.loads(made.file("judges.json").read_text())
    assert (figures["questions"], figures["refused"]) == (12, 0)
    assert figures["tokens"] > 12 * 50  # the server counts them
