"""The page: self-contained, whole, and answers that stay mere text."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.comparison import comparison
from pipeline.report.policies import write_report
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact
from tests.unit.report.comparisons import PLAIN, RATE, Elements, chain, evaluation, rows_of

ATTACK = '<script>alert(1)</script><img src="https://example.org/x" onerror="alert(2)">'


def page(tmp_path: Path, artifact: Artifact, rows: list[dict[str, Any]], examples: int = 4) -> str:
    path = tmp_path / "report.html"
    write_report(path, comparison(artifact, rows, STAGES), examples)
    return path.read_text(encoding="utf-8")


def full(tmp_path: Path, text: str) -> str:
    """A page with everything on it, whose answers say `text`."""
    parts = chain(path=tmp_path)
    for stage in ("sft", "dpo"):
        (tmp_path / stage).mkdir()
        history = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.5}, {"step": 3, "loss": 1.2}]
        (tmp_path / stage / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    policies = {name: parts[name] for name in ("base", "sft", "dpo")}
    rows = rows_of({"base": [0.1] * 9, "sft": [0.4] * 9, "dpo": [0.9] * 9}, text)
    own = {name: {"true_score": 0.5, **PLAIN, **({} if name == "sft" else RATE)} for name in policies}
    metrics = {f"{name}/{key}": value for name, values in own.items() for key, value in values.items()}
    return page(tmp_path, evaluation(policies, {"prompts": 512, **metrics}), rows)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(tmp_path: Path) -> None:
    html = full(tmp_path, ATTACK)
    elements = Elements(html)
    assert ATTACK in elements.text  # shown as it was written
    assert not {tag for tag, _ in elements.found} & {"script", "img", "link", "iframe", "object", "base", "form"}
    for _, attributes in elements.found:
        assert not {"src", "srcset", "href", "xlink:href", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in html
    assert "@import" not in html


def test_the_page_has_every_part(tmp_path: Path) -> None:
    html = full(tmp_path, "Fine.")
    text = Elements(html).text
    for heading in (
        "Quality and uncertainty",
        "How training went",
        "Cost of each arm",
        "Answers side by side",
        "How it was made",
    ):
        assert heading in text
    assert "kept: step 2 of 3, evaluation loss 1.500" in text
    assert "python -m pipeline artifacts lineage evaluate@eeee" in text
    assert len(Elements(html).of("polyline", "train")) == 2
    assert text.index("DPO wins 0.84") < text.index("Quality and uncertainty")


def test_control_characters_and_lone_surrogates_do_not_break_the_page(tmp_path: Path) -> None:
    assert "a␇b?" in Elements(full(tmp_path, "a\x07b\ud800")).text


@pytest.mark.parametrize("name", ["<b>x</b>", "sft@friday", "/home/me/my model"])
def test_names_of_policies_are_only_text(tmp_path: Path, name: str) -> None:
    policies = {"sft": chain()["sft"], name: chain()["dpo"]}
    metrics = {"prompts": 3.0, "sft/kl": 0.0, "sft/true_score": 0.4}
    metrics |= {f"{name}/{key}": value for key, value in {**RATE, "kl": 2.0, "true_score": 0.5}.items()}
    elements = Elements(page(tmp_path, evaluation(policies, metrics), rows_of({"sft": [0.1] * 3, name: [0.9] * 3})))
    assert not any(tag == "b" for tag, _ in elements.found)
    assert name.removeprefix("sft") in elements.text


def test_without_a_scorer_nobody_is_called_better(tmp_path: Path) -> None:
    parts = chain(simulated=False)
    external = Artifact("model", "mmmm", Path("org/model"), {"source": {"path": "org/model", "revision": "abc"}})
    rows = rows_of({"base": [0.0] * 5, "sft": [0.0] * 5, "theirs": [0.0] * 5})
    for row in rows:
        for answer in row["answers"].values():
            del answer["score"]
    policies = {"base": external, "sft": parts["sft"], "theirs": dataclasses.replace(external, version="nnnn")}
    metrics = {"prompts": 5.0} | {f"{name}/{key}": value for name in policies for key, value in PLAIN.items()}
    text = Elements(page(tmp_path, evaluation(policies, metrics), rows)).text
    assert "No result: no person has judged these" in text
    assert "theirs is a model of your own: its training data is unknown" in text
    assert "win rate against" not in text
    assert "path org/model" in text


def test_one_policy_alone_is_no_comparison(tmp_path: Path) -> None:
    sft = {"sft": chain()["sft"]}
    metrics = {"prompts": 3.0, **{f"sft/{key}": value for key, value in PLAIN.items()}}
    text = Elements(page(tmp_path, evaluation(sft, metrics), rows_of({"sft": [0.5] * 3}))).text
    assert "Only SFT was evaluated: there is nothing to compare it with." in text


def test_a_policy_whose_artifact_is_gone_is_still_reported(tmp_path: Path) -> None:
    artifact = evaluation({"sft": chain()["sft"]}, {"prompts": 3.0, "sft/kl": 0.0, "dpo/kl": 1.0})
    artifact.manifest["config"]["policies"] = ["sft", "dpo"]
    text = Elements(page(tmp_path, artifact, rows_of({"sft": [0.5] * 3, "dpo": [0.6] * 3}))).text
    assert "DPO: its artifact has been removed" in text
