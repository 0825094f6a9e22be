"""Honest sentences: who is better and how sure that is, on which terms, and what to know before believing it."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.evaluation.protocol import protocol
from pipeline.report.verdicts import caveats, verdicts
from tests.unit.report.comparisons import PLAIN, RATE, chain, made, rows_of, told, two_arms, usual


def test_a_shown_win_is_said_with_its_interval_and_its_judge() -> None:
    (verdict,) = verdicts(usual(RATE))
    expected = "DPO wins 0.84 [0.81, 0.87] of 512 held-out prompts against SFT, by the playground's true scorer."
    assert verdict.text == expected
    assert verdict.shown


@pytest.mark.parametrize(("low", "high"), [(0.47, 0.57), (0.5, 0.6), (0.4, 0.5)])
def test_an_interval_that_holds_one_half_is_no_difference(low: float, high: float) -> None:
    (verdict,) = verdicts(usual({"win_rate": 0.52, "win_rate_low": low, "win_rate_high": high}))
    assert verdict.text.startswith("No difference shown between DPO and SFT: DPO wins 0.52")
    assert not verdict.shown


def test_a_shown_loss_is_called_worse() -> None:
    (verdict,) = verdicts(usual({"win_rate": 0.3, "win_rate_low": 0.26, "win_rate_high": 0.34}))
    assert verdict.text.startswith("DPO is worse than SFT: it wins only 0.30 [0.26, 0.34] of 512")


def test_two_arms_are_compared_by_paired_win_rates() -> None:
    parts = chain()
    ppo = dataclasses.replace(parts["dpo"], stage="ppo")
    scores = {"sft": [0.5] * 100, "dpo": [0.9] * 50 + [0.1] * 50, "ppo": [0.9] * 80 + [0.1] * 20}
    policies = {"sft": parts["sft"], "dpo": parts["dpo"], "ppo": ppo}
    seen = told(policies, {"sft": PLAIN, "dpo": PLAIN | RATE, "ppo": PLAIN | RATE}, rows_of(scores))
    # 30 of 100 prompts differ, each by a whole win: sd sqrt(0.3 * 0.7 * 100 / 99) = 0.4606, half width 0.0903.
    expected = "PPO is better than DPO: +30 points of win rate against SFT [+21, +39]; head to head PPO wins 0.65"
    assert verdicts(seen)[-1].text.startswith(expected)  # 30 wins and 70 ties
    scores["ppo"] = scores["dpo"][::-1]
    seen = told(policies, {"sft": PLAIN, "dpo": PLAIN | RATE, "ppo": PLAIN | RATE}, rows_of(scores))
    assert verdicts(seen)[-1].text.startswith("No difference shown between")


def test_what_the_baseline_was_made_from_comes_last_and_is_no_arm() -> None:
    parts = chain()
    policies = {name: parts[name] for name in ("base", "sft", "dpo")}
    low = {"win_rate": 0.2, "win_rate_low": 0.16, "win_rate_high": 0.23}
    seen = told(policies, {"base": PLAIN | low, "sft": PLAIN, "dpo": PLAIN | RATE})
    assert [arm.name for arm in seen.arms] == ["dpo"]
    assert [verdict.text.split()[0] for verdict in verdicts(seen)] == ["DPO", "Base"]
    assert {policy.name: policy.colour for policy in seen.policies} == {"base": 7, "sft": 0, "dpo": 1}


def test_simulated_annotators_are_said_and_people_are_not_called_so() -> None:
    assert caveats(usual(RATE))[0].startswith("Annotators are SIMULATED")
    assert not any("SIMULATED" in caveat for caveat in caveats(usual(RATE, simulated=False)))


def test_annotators_not_to_rely_on_are_named_at_the_top_with_the_line_that_leaves_them_out(tmp_path: Path) -> None:
    says = "reliability 0.02 [-0.10, 0.14] over 60 tasks, median 0.70"
    table = {"zed": {"suspect": [{"reason": "chance", "says": says}]}, "ann": {}}
    (tmp_path / "annotators.json").write_text(json.dumps(table))
    parts = chain()
    preferences = dataclasses.replace(parts["dpo"].inputs["preferences"], path=tmp_path)
    dpo = dataclasses.replace(parts["dpo"], inputs={**parts["dpo"].inputs, "preferences": preferences})
    found = caveats(told({"sft": parts["sft"], "dpo": dpo}, {"sft": PLAIN, "dpo": PLAIN | RATE}))
    expected = f"1 annotator is not to be relied on: zed is not distinguishable from chance ({says})."
    assert found[1] == f"""{expected} Leave them out with 'preferences.exclude=["zed"]'"""
    assert not any("relied" in caveat for caveat in caveats(usual(RATE)))


def test_policies_from_different_versions_are_unequal() -> None:
    parts = chain()
    friday = dataclasses.replace(parts["sft"], version="ffff", inputs={"data": made("data", "dddd")})
    seen = told({"sft@friday": friday, "dpo": parts["dpo"]}, {"sft@friday": PLAIN, "dpo": PLAIN})
    terms = protocol(seen)
    assert terms
    assert not terms.equal
    assert "different versions of ‘sft’ (SFT@friday from ffff, DPO from aaaa)" in terms.text
    assert "different versions of ‘data’ (SFT@friday from dddd, DPO from aaaa)" in terms.text
    assert "DPO was trained on data@aaaa, but the prompts come from data@dddd" in " ".join(caveats(seen))
    equal = protocol(usual(RATE))
    assert equal
    assert equal.equal
    assert "DPO come from sft@aaaa and preferences@aaaa" in equal.text


def test_cut_answers_few_prompts_and_long_answers_are_said() -> None:
    parts = chain()
    long = {**PLAIN, "stopped": 0.8, "length": 36.0}
    seen = told({"sft": parts["sft"], "dpo": parts["dpo"]}, {"sft": PLAIN, "dpo": long}, prompts=32)
    said = " ".join(caveats(seen))
    assert "Few prompts: 32" in said
    assert "ran into the limit of 64 tokens before they ended: DPO 20%." in said
    assert "DPO's answers are 3.0 times as long as SFT's" in said


def test_the_limit_that_was_chosen_is_the_one_that_is_said() -> None:
    """Where none was set, `evaluate` has it among its metrics."""
    seen = usual({"stopped": 0.8})
    free = {**seen.evaluation.manifest, "config": {"decoding": {"temperature": 1.0, "max_new_tokens": None}}}
    free["metrics"] = {**seen.evaluation.metrics, "max_new_tokens": 57.0}
    chosen = dataclasses.replace(seen, evaluation=dataclasses.replace(seen.evaluation, manifest=free))
    assert "ran into the limit of 57 tokens" in " ".join(caveats(chosen))
    terms = protocol(chosen)
    assert terms is not None
    assert "(temperature 1, at most 57 tokens)" in terms.text


def test_equal_terms_are_checked_and_said() -> None:
    terms = protocol(told(two_arms(), {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN}))
    assert terms
    assert terms.equal
    assert "DPO and PPO both come from sft@aaaa and preferences@aaaa" in terms.text
    assert "PPO also answered prompts without judgements (data@aaaa)" in terms.text


def test_arms_trained_in_different_ways_are_not_on_equal_terms() -> None:
    parts = two_arms(peft={"method": "lora"}, seed=3)
    terms = protocol(told(parts, {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN}))
    assert terms
    assert not terms.equal
    assert "seed differs (DPO 0, PPO 3)" in terms.text
    assert "peft.method differs (DPO full, PPO lora)" in terms.text


def test_arms_from_different_preferences_are_not_on_equal_terms() -> None:
    parts = two_arms()
    other = made("preferences", "bbbb", inputs={"rankings": made("collect")})
    reward = dataclasses.replace(parts["ppo"].inputs["reward"], inputs={"preferences": other})
    parts["ppo"] = dataclasses.replace(parts["ppo"], inputs={**parts["ppo"].inputs, "reward": reward})
    terms = protocol(told(parts, {"sft": PLAIN, "dpo": PLAIN, "ppo": PLAIN}))
    assert terms
    assert "different versions of ‘preferences’ (DPO from aaaa, PPO from bbbb)" in terms.text


def test_a_better_head_to_head_is_not_claimed_where_its_interval_holds_one_half() -> None:
    """PPO loses no prompt that DPO wins against SFT, so its win rate is shown to be higher; most answers tie."""
    scores = {"sft": [0.5] * 100, "dpo": [0.9] * 92 + [0.1] * 8, "ppo": [0.9] * 100}
    seen = told(two_arms(), {"sft": PLAIN, "dpo": PLAIN | RATE, "ppo": PLAIN | RATE}, rows_of(scores))
    assert verdicts(seen)[-1].text.startswith("No difference shown between PPO and DPO: +8 points")


def judged(accuracy: float, longer: float = 0.43) -> dict[str, float]:
    """An evaluation's metrics of its judge."""
    return {"judge_accuracy": accuracy, "judge_accuracy_longer": longer, "judge_test": 200.0}


def test_wins_of_a_judge_that_knows_no_more_than_length_are_marked_with_its_figures() -> None:
    own = {"judge_reward": 0.5, **PLAIN}
    policies = {name: artifact for name, artifact in chain().items() if name in ("sft", "dpo")}
    doubtful = told(policies, {"sft": own, "dpo": own | RATE}, **judged(0.43))
    (verdict,) = verdicts(doubtful)
    assert not verdict.shown
    figures = "right on 0.43 of pairs, length on 0.57"
    assert verdict.text.endswith(f"by the independent judge (not shown to be better than length: {figures}).")
    assert "The judge ranks 0.43 [0.36, 0.50] of 200 held-out pairs rightly" in " ".join(caveats(doubtful))
    sound = told(policies, {"sft": own, "dpo": own | RATE}, **judged(0.9))
    assert verdicts(sound)[0].shown
    assert not any("The judge ranks" in caveat for caveat in caveats(sound))
    brought = told(policies, {"sft": own, "dpo": own | RATE})
    assert verdicts(brought)[0].text.endswith("by the independent judge (its accuracy is unknown).")


def test_where_nobody_knows_the_truth_the_independent_judge_compares_the_arms() -> None:
    scores = {"sft": [0.5] * 100, "dpo": [0.1] * 100, "ppo": [0.9] * 100}
    rows = rows_of(scores)
    for row in rows:
        for answer in row["answers"].values():
            answer["judge_reward"] = answer.pop("score")
    own = {"judge_reward": 0.5, **PLAIN}
    figures = {"sft": own, "dpo": own | RATE, "ppo": own | RATE}
    said = [verdict.text for verdict in verdicts(told(two_arms(), figures, rows, **judged(0.9)))]
    assert said[0].endswith("by the independent judge.")
    assert said[-1].startswith("PPO is better than DPO: +100 points")


def test_of_many_arms_the_one_that_wins_most_is_compared_with_each_other() -> None:
    parts = chain()
    names = [f"dpo@{n}" for n in range(5)]
    policies = {"sft": parts["sft"]} | {name: dataclasses.replace(parts["dpo"], version=name[-1] * 4) for name in names}
    metrics = {name: PLAIN | RATE | {"win_rate": 0.5 + n / 10} for n, name in enumerate(names)}
    scores = {"sft": [0.5] * 100} | {
        name: [0.9] * (50 + 10 * n) + [0.1] * (50 - 10 * n) for n, name in enumerate(names)
    }
    few = dict(list(policies.items())[:4])
    seen = told(few, {"sft": PLAIN, **{name: metrics[name] for name in names[:3]}}, rows_of(scores))
    assert len(seen.rivals) == 3
    seen = told(policies, {"sft": PLAIN, **metrics}, rows_of(scores))
    assert [(a.name, b.name) for a, b in seen.rivals] == [("dpo@4", name) for name in names[:4]]
