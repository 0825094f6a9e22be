"""Both arms together: the stages that each needs, one protocol, one table, one report."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.rows import read_jsonl
from pipeline.engine.planner import Step
from pipeline.store.artifact import Artifact
from tests.stages.classifiers import classifier
from tests.stages.conftest import Chain


@pytest.fixture(scope="session")
def report(chain: Chain) -> Artifact:
    """The report on both arms."""
    return chain.make("compare")


def test_one_arm_alone_needs_nothing_of_the_other(planned: Callable[..., dict[str, Step]]) -> None:
    """DPO needs no reward model, no judge and no PPO; a judge is added on request."""
    alone = planned("stage=compare", "evaluate.policies=[sft,dpo]")
    assert not {"reward", "judge", "ppo"} & set(alone)
    judged = planned("stage=compare", "evaluate.policies=[sft,dpo]", "evaluate.judge=true")
    assert "ppo" not in judged
    assert set(judged["evaluate"].inputs) == {"sft", "dpo", "data", "judge"}


def test_ppos_arm_is_scored_by_its_reward_model_and_by_the_judge(planned: Callable[..., dict[str, Step]]) -> None:
    steps = planned("stage=compare", "evaluate.policies=[sft,ppo]")
    given = steps["evaluate"].inputs
    assert set(given) == {"sft", "ppo", "data", "reward", "judge"}
    assert given["reward"] is steps["ppo"].inputs["reward"]
    assert given["judge"].version != given["reward"].version
    assert "judge" not in planned(
        "stage=compare", "evaluate.policies=[sft,ppo]", "evaluate.judge=false", "ppo.watch_judge=false"
    )


def test_every_policy_has_the_same_measures(report: Artifact) -> None:
    metrics = report.inputs["evaluation"].metrics
    for name in ("base", "sft", "dpo", "ppo"):
        for measure in ("reward", "judge_reward", "true_score", "kl", "length", "stopped", "perplexity"):
            assert f"{name}/{measure}" in metrics
    for name in ("base", "dpo", "ppo", "ppo/against/dpo"):
        low, rate, high = (metrics[f"{name}/{key}"] for key in ("win_rate_low", "win_rate", "win_rate_high"))
        assert 0 <= low <= rate <= high <= 1


def test_scores_in_the_answers_add_up_to_the_metrics(report: Artifact) -> None:
    evaluation = report.inputs["evaluation"]
    rows = read_jsonl(evaluation.file("answers.jsonl"))
    for key in ("reward", "judge_reward"):
        scores = [row["answers"]["ppo"][key] for row in rows]
        assert sum(scores) / len(scores) == pytest.approx(evaluation.metrics[f"ppo/{key}"])
    assert rows[0]["answers"]["ppo"]["reward"] != rows[0]["answers"]["ppo"]["judge_reward"]


def test_both_arms_start_from_the_same_versions_and_the_report_says_so(report: Artifact) -> None:
    html = report.file("report.html").read_text()
    assert report.metrics["equal_terms"] == 1
    assert "On equal terms, by the manifests: DPO and PPO both come from sft@" in html
    for heading in (
        "Results of the gates before training",
        "Accuracy of the reward models",
        "Correlations of scores",
    ):
        assert heading in html
    assert "PPO against DPO" in html


def test_arms_from_different_sft_versions_are_told_of(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """DPO trained on an earlier SFT policy, compared with the current one."""
    friday = chain.make("sft", "sft.seed=5")
    old = chain.make("dpo", f"dpo.inputs.policy={friday.reference}")
    made = chain.make("compare", f"evaluate.policies=[sft,dpo,{old.reference}]")
    assert made.metrics["equal_terms"] == 0
    assert "Not on equal terms: the policies come from different versions of ‘sft’" in capsys.readouterr().out
    html = made.file("report.html").read_text()
    assert html.index("Not on equal terms") < html.index('class="verdicts"')


def test_without_a_scorer_the_independent_judge_decides(chain: Chain, tmp_path: Path) -> None:
    """The user's prompts have no true score: the judge's scores are compared, prompt by prompt."""
    rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}, I am sure."} for n in range(1, 81)]
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    judge = classifier(tmp_path / "judge", chain.make("sft"))
    own = ("data=files", f"data.path={file}", "evaluate.policies=[base,sft]")
    made = chain.make("compare", *own, f"evaluate.inputs.judge={judge.path}")
    evaluation = made.inputs["evaluation"]
    answers = [row["answers"] for row in read_jsonl(evaluation.file("answers.jsonl"))]
    assert "score" not in answers[0]["sft"]
    gaps = [row["base"]["judge_reward"] - row["sft"]["judge_reward"] for row in answers]
    expected = sum(0.5 if abs(gap) < 1e-9 else float(gap > 0) for gap in gaps) / len(gaps)
    assert evaluation.metrics["base/win_rate"] == pytest.approx(expected)
    said = "by the independent judge (its accuracy is unknown)."
    assert said in made.file("report.html").read_text()


def test_the_best_of_n_is_a_policy_of_the_report(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """With more answers to choose from, no prompt's reward falls, and the answers are the baseline's own draws."""
    made = chain.make("compare", "evaluate.policies=[sft]", "evaluate.best_of=[2,6]", "evaluate.judge=false")
    evaluation = made.inputs["evaluation"]
    answers = [row["answers"] for row in read_jsonl(evaluation.file("answers.jsonl"))]
    assert all(row["best_of_6"]["reward"] >= row["best_of_2"]["reward"] for row in answers)
    assert evaluation.metrics["best_of_6/reward"] > evaluation.metrics["best_of_2/reward"]
    assert evaluation.metrics["best_of_2/reward"] > evaluation.metrics["sft/reward"]
    assert evaluation.metrics["best_of_2/kl"] == pytest.approx(math.log(2) - 0.5)
    assert "best_of_6/win_rate" in evaluation.metrics
    html = made.file("report.html").read_text()
    assert "Best of 6" in html
    assert made.metrics["equal_terms"] == 1
    assert "best_of_6" in capsys.readouterr().out


def test_the_best_of_n_needs_a_reward_model(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.run("stage=evaluate", "evaluate.policies=[sft]", "evaluate.best_of=[1,4]") == 2
    assert "at least 2" in capsys.readouterr().err
    rewards = "ppo.rewards=[{source: json:dumps}]"
    assert chain.run("stage=evaluate", "evaluate.policies=[sft]", "evaluate.best_of=[4]", rewards) == 2
    assert "reward model" in capsys.readouterr().err
