"""The report's tables: costs, people, gates and examples, in words."""

import dataclasses
from pathlib import Path

import pytest

from labeling.readings import read_alpha, read_kendall_w
from pipeline.gates.rules import agreement_verdict, centring_verdict, write_gates
from pipeline.report.examples import choose
from pipeline.report.tables import cost_rows, gate_rows, lineage_rows, metric_rows, people, reward_models
from pipeline.report.verdicts import caveats
from pipeline.report.wording import count, duration
from pipeline.store.artifact import Artifact
from tests.unit.report.comparisons import PLAIN, RATE, chain, made, rows_of, told, two_arms, usual


@pytest.mark.parametrize(
    ("alpha", "word"),
    [(-0.3, "below chance"), (0.0, "chance"), (0.3, "weak"), (0.5, "moderate"), (0.7, "good"), (0.9, "strong")],
)
def test_alpha_in_words(alpha: float, word: str) -> None:
    assert read_alpha(alpha).startswith(word)


def test_kendall_w_is_read_against_its_chance() -> None:
    assert "agree no more than by chance (chance gives 0.50" in read_kendall_w(0.5, 2)
    assert "agree somewhat (chance gives 0.10" in read_kendall_w(0.4, 10)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "< 1 s"), (57.2, "57 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_counts() -> None:
    assert [count(n) for n in (12, 1512, 1394080, 7e9)] == ["12", "1,512", "1.39 M", "7 B"]


def test_gates_that_warned_are_told_first_and_those_that_agree_once(tmp_path: Path) -> None:
    parts = two_arms(tmp_path)
    for arm in ("dpo", "ppo"):
        parts[arm].path.mkdir()
    write_gates(parts["dpo"].path, [agreement_verdict({"alpha": 0.5}, "preferences")])
    write_gates(parts["ppo"].path, [agreement_verdict({"alpha": 0.5}, "preferences"), centring_verdict(2.0)])
    seen = told(parts, {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN})
    found = [([arm.label for arm in row.arms], row.verdict.name) for row in gate_rows(seen)]
    assert found == [(["PPO"], "centred"), (["DPO", "PPO"], "agreement")]
    assert "Before PPO was trained, a gate warned: centred (at fault: reward)." in caveats(seen)


def test_costs_add_up_over_the_lineage() -> None:
    rows = {row.label: list(row.cells) for row in cost_rows(usual(RATE))}
    assert rows["dpo"] == ["—", "10 s"]
    assert rows["All together"] == ["30 s", "70 s"]  # base, data, sft; and publish, collect, preferences, dpo
    assert rows["Rankings used (simulated)"] == ["—", "90"]
    assert rows["Trainable parameters"] == ["—", "1.4 M"]


def test_an_arm_alone_costs_what_no_other_policy_stands_on() -> None:
    """For PPO its reward model, too: times and tokens add up, of the memory the larger counts."""
    rows = {
        row.label: list(row.cells) for row in cost_rows(told(two_arms(), {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN}))
    }
    assert rows["Time of this arm alone"] == ["—", "10 s", "20 s"]
    assert rows["Tokens in this arm's training"] == ["—", "400", "2,000"]
    assert rows["Peak memory of this arm"] == ["—", "2.00 GB", "1.00 GB"]
    assert rows["Rankings used (simulated)"] == ["—", "90", "90"]
    assert rows["Pairs trained on"] == ["—", "—", "70"]


def test_a_judge_that_watched_is_no_cost_of_the_arm() -> None:
    parts = two_arms()
    judge = made("reward", "jjjj", config={"as_judge": True}, metrics={"tokens": 9e6, "pairs": 5})
    parts["ppo"] = dataclasses.replace(parts["ppo"], inputs={**parts["ppo"].inputs, "judge": judge})
    seen = told(parts, {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN})
    rows = {row.label: list(row.cells) for row in cost_rows(seen)}
    assert rows["Tokens in this arm's training"][2] == "2,000"
    assert rows["Pairs trained on"][2] == "70"


def test_a_reward_model_is_shown_beside_length_and_people() -> None:
    parts = two_arms()
    reward = made("reward", metrics={"accuracy": 0.78, "accuracy_longer": 0.55, "accuracy_people": 0.81, "pairs": 900})
    parts["ppo"] = dataclasses.replace(parts["ppo"], inputs={**parts["ppo"].inputs, "reward": reward})
    (row,) = reward_models(told(parts, {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN}))
    assert (row.name, [value for value, _ in row.figures]) == ("reward", ["0.78", "0.55", "0.81", "900"])


def test_metrics_are_told_apart_by_policy_even_where_names_hold_slashes() -> None:
    parts = chain()
    seen = told(
        {"sft": parts["sft"], "my/sft": parts["dpo"]}, {"sft": {"kl": 0.0}, "my/sft": {"kl": 3.0, "novel": 7.0}}
    )
    cells = {row.meaning.label: row.cells for row in metric_rows(seen)}
    assert cells == {"KL": [("0.00", ""), ("3.00", "")], "Novel": [("—", ""), ("7", "")]}


def test_agreement_is_shown_with_its_interval_where_that_is_known() -> None:
    parts = chain()
    preferences = parts["dpo"].inputs["preferences"]
    metrics = {**preferences.metrics, "alpha_low": 0.548, "alpha_high": 0.69}
    known = dataclasses.replace(preferences, manifest={**preferences.manifest, "metrics": metrics})
    dpo = dataclasses.replace(parts["dpo"], inputs={**parts["dpo"].inputs, "preferences": known})
    (given,) = people(told({"sft": parts["sft"], "dpo": dpo}, {"sft": PLAIN, "dpo": PLAIN | RATE}))
    rows = {name: value for name, value, _ in given.rows}
    assert (rows["Krippendorff's alpha"], rows["Pairwise agreement"]) == ("0.62 [0.55, 0.69]", "0.70")


def test_people_are_read_in_words() -> None:
    (given,) = people(usual(RATE))
    rows = {name: (value, words) for name, value, words in given.rows}
    assert given.simulated
    assert rows["Ties"][1].endswith("25% of all comparisons")
    assert rows["Krippendorff's alpha"][0] == "0.62"
    assert "chance gives 0.33 with 3 judges" in rows["Kendall's W"][1]


def test_lineage_names_what_was_removed_since() -> None:
    inputs = {"policy": {"stage": "sft", "version": "gone"}}
    seen = told({"dpo": Artifact("dpo", "v", Path("nowhere"), {"inputs": inputs})}, {"dpo": PLAIN})
    (dpo,) = (row for row in lineage_rows(seen) if row.stage == "dpo")
    assert dpo.origin == [("policy", "sft@gone", False)]


def test_examples_show_gains_losses_and_chance_and_are_always_the_same() -> None:
    scores = {"sft": [0.5] * 40, "dpo": [0.5] * 40}
    scores["dpo"][7], scores["dpo"][11] = 1.0, 0.0
    policies = {name: artifact for name, artifact in chain().items() if name in scores}
    rows = rows_of(scores)
    found = choose(told(policies, {"sft": PLAIN, "dpo": PLAIN}, rows), 6)
    shown = [(example.why.split(" against")[0], example.prompt[0]["content"]) for example in found]
    assert shown[:2] == [("Where DPO gains most", "Question 7?"), ("Where DPO loses most", "Question 11?")]
    assert [why for why, _ in shown[2:]] == ["Drawn by chance"] * 4
    assert len(set(shown)) == 6
    again = choose(told(policies, {"sft": PLAIN, "dpo": PLAIN}, rows[::-1]), 6)
    assert [example.prompt for example in again] == [example.prompt for example in found]


def test_no_more_examples_than_prompts_and_none_if_none_are_wanted() -> None:
    policies = {name: artifact for name, artifact in chain().items() if name in ("sft", "dpo")}
    seen = told(policies, {"sft": PLAIN, "dpo": PLAIN}, rows_of({"sft": [0.1] * 3, "dpo": [0.9, 0.0, 0.1]}))
    assert len(choose(seen, 8)) == 3
    assert choose(seen, 0) == []
