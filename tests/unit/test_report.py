"""The report: honest sentences, charts that are where their numbers say, and answers that stay mere text."""

import dataclasses
import json
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifact
from pipeline.evaluation.charts import (
    Bar,
    Scale,
    Series,
    Spot,
    bin_shares,
    curves,
    intervals,
    label_places,
    plane,
    ticks,
)
from pipeline.evaluation.comparison import Comparison, comparison
from pipeline.evaluation.examples import choose
from pipeline.evaluation.histories import kept, panels, points
from pipeline.evaluation.lineage import lineage
from pipeline.evaluation.report import write_report
from pipeline.evaluation.tables import cost_rows, lineage_rows, metric_rows, people
from pipeline.evaluation.verdicts import caveats, verdicts
from pipeline.evaluation.wording import count, duration, read_alpha, read_kendall_w

ATTACK = '<script>alert(1)</script><img src="https://example.org/x" onerror="alert(2)">'
RATE = {"win_rate": 0.84, "win_rate_low": 0.81, "win_rate_high": 0.87}
PLAIN = {"length": 12.0, "stopped": 1.0, "perplexity": 3.0, "kl": 2.0}


def made(stage: str, version: str = "aaaa", path: Path = Path("nowhere"), **more: Any) -> Artifact:
    inputs = more.pop("inputs", {})
    return Artifact(stage, version, path, {"seconds": 10, "metrics": {}, "config": {}, **more}, inputs)


def chain(*, simulated: bool = True, path: Path = Path("nowhere")) -> dict[str, Artifact]:
    """base, data, sft, dpo, as the pipeline makes them."""
    base, data = made("base"), made("data")
    sft = made("sft", path=path / "sft", inputs={"base": base, "data": data})
    answers = {"rankings": 90, "prompts": 30, "annotators": 3, **({"simulated": 1} if simulated else {})}
    collect = made("collect", inputs={"publish": made("publish", inputs={"sft": sft})}, metrics=answers)
    found = {"pairs": 75, "ties": 25, "alpha": 0.62, "kendall_w": 0.6, "pairwise_agreement": 0.7, "annotators": 3}
    preferences = made("preferences", inputs={"rankings": collect}, metrics=found)
    dpo = made(
        "dpo", path=path / "dpo", inputs={"policy": sft, "preferences": preferences}, metrics={"trainable": 1.4e6}
    )
    return {"base": base, "data": data, "sft": sft, "dpo": dpo}


def evaluation(policies: dict[str, Artifact], metrics: dict[str, float], baseline: str = "sft") -> Artifact:
    data = next((a for policy in policies.values() for a in lineage(policy) if a.stage == "data"), made("data"))
    config = {"policies": list(policies), "baseline": baseline, "decoding": {"max_new_tokens": 64}}
    path = Path("outputs/playground/evaluate/eeee")
    return made("evaluate", "eeee", path, config=config, metrics=metrics, inputs={"data": data, **policies})


def rows_of(scores: dict[str, list[float]], text: str = "Rub it with mint.") -> list[dict[str, Any]]:
    some = next(iter(scores.values()))
    return [
        {
            "id": str(i),
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "reference": "Turn it.",
            "answers": {
                name: {"text": text, "stopped": True, "tokens": 5, "kl": 0.5, "score": values[i]}
                for name, values in scores.items()
            },
        }
        for i in range(len(some))
    ]


def told(
    policies: dict[str, Artifact], own: dict[str, dict[str, float]], rows: Any = (), prompts: int = 512
) -> Comparison:
    metrics = {f"{name}/{key}": value for name, values in own.items() for key, value in values.items()}
    return comparison(evaluation(policies, {"prompts": prompts, **metrics}), rows)


def usual(own: dict[str, float], **options: Any) -> Comparison:
    """SFT against DPO, DPO with these metrics."""
    policies = {name: artifact for name, artifact in chain(**options).items() if name in ("sft", "dpo")}
    return told(policies, {"sft": {"true_score": 0.4, **PLAIN}, "dpo": {"true_score": 0.8, **PLAIN, **own}})


# -- sentences -------------------------------------------------------------------------------------------------------


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
    assert verdicts(seen)[-1].text == "PPO is better than DPO: +30 points of win rate [+21, +39]."
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


def test_policies_from_different_versions_are_unequal() -> None:
    parts = chain()
    friday = dataclasses.replace(parts["sft"], version="ffff", inputs={"data": made("data", "dddd")})
    seen = told({"sft@friday": friday, "dpo": parts["dpo"]}, {"sft@friday": PLAIN, "dpo": PLAIN})
    said = " ".join(caveats(seen))
    assert "different versions of ‘sft’ (SFT@friday from ffff, DPO from aaaa)" in said
    assert "different versions of ‘data’ (SFT@friday from dddd, DPO from aaaa)" in said
    assert "DPO was trained on data@aaaa, but the prompts come from data@dddd" in said
    assert not any("versions" in caveat for caveat in caveats(usual(RATE)))


def test_cut_answers_few_prompts_and_long_answers_are_said() -> None:
    parts = chain()
    long = {**PLAIN, "stopped": 0.8, "length": 36.0}
    seen = told({"sft": parts["sft"], "dpo": parts["dpo"]}, {"sft": PLAIN, "dpo": long}, prompts=32)
    said = " ".join(caveats(seen))
    assert "Few prompts: 32" in said
    assert "ran into the limit of 64 tokens before they ended: DPO 20%." in said
    assert "DPO's answers are 3.0 times as long as SFT's" in said


@pytest.mark.parametrize(
    ("alpha", "word"),
    [(-0.3, "below chance"), (0.0, "chance"), (0.3, "weak"), (0.5, "moderate"), (0.7, "good"), (0.9, "strong")],
)
def test_alpha_in_words(alpha: float, word: str) -> None:
    assert read_alpha(alpha).startswith(word)


def test_kendall_w_is_read_against_its_chance() -> None:
    assert "no more alike than by chance (chance gives 0.50" in read_kendall_w(0.5, 2)
    assert "somewhat alike (chance gives 0.10" in read_kendall_w(0.4, 10)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "< 1 s"), (57.2, "57 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_counts() -> None:
    assert [count(n) for n in (12, 1512, 1394080, 7e9)] == ["12", "1,512", "1.39 M", "7 B"]


# -- charts ----------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str, kind: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.found if name == tag and kind in (a.get("class") or "").split()]


def test_a_scale_maps_ends_to_ends() -> None:
    scale = Scale(0, 10, 50, 150)
    assert [scale(0), scale(2.5), scale(10)] == [50, 75, 150]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 7, [0, 2, 4, 6, 8]),
        (4.72, 4.95, [4.7, 4.8, 4.9, 5.0]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_intervals_are_where_their_numbers_say() -> None:
    drawn = Elements(str(intervals([Bar("DPO", 1, 0.84, 0.81, 0.87)], "win rate")))
    (span,), (dot,) = drawn.of("line", "span"), drawn.of("circle", "dot")
    assert (span["x1"], span["x2"], dot["cx"]) == ("81.0%", "87.0%", "84.0%")
    assert "0.84 [0.81, 0.87]" in drawn.text


def test_curves_are_where_their_numbers_say() -> None:
    drawn = Elements(str(curves([Series("evaluation", "eval", [(0, 0.0), (10, 1.0)])], "step", "loss", mark=(10, 1.0))))
    (line,), (ring,) = drawn.of("polyline", "eval"), drawn.of("circle", "kept")
    assert line["points"] == "46.0,190.0 346.0,26.0"  # from the lower left to the upper right corner of the axes
    assert (ring["cx"], ring["cy"]) == ("346.0", "26.0")


def test_curves_leave_out_what_is_not_finite_and_draw_a_single_point() -> None:
    drawn = Elements(str(curves([Series("training", "train", [(1, float("nan")), (2, 0.5)])], "step", "loss")))
    assert len(drawn.of("circle", "train")) == 1
    assert str(curves([Series("training", "train", [(1, float("inf"))])], "step", "loss")) == ""


def test_the_plane_is_where_its_numbers_say() -> None:
    drawn = Elements(str(plane([Spot("A", 0, 0, 0, 0, 0), Spot("B", 1, 8, 1, 0.75, 1)], "KL", "score")))
    assert [(dot["cx"], dot["cy"]) for dot in drawn.of("circle", "dot")] == [("46.0", "190.0"), ("346.0", "26.0")]
    assert [line["y1"] for line in drawn.of("line", "whisker")] == ["190.0", "67.0"]


def test_labels_of_near_dots_do_not_cover_each_other() -> None:
    places = label_places([("SFT@friday", 100, 100), ("SFT@monday", 103, 101), ("DPO", 101, 99)])
    heights = sorted(place[2] for place in places)
    assert all(b - a >= 13 for a, b in pairwise(heights))


def test_bins_hold_every_value_once() -> None:
    assert bin_shares([0, 0.05, 0.3, 1.0]) == [0.5, 0, 0, 0.25, 0, 0, 0, 0, 0, 0.25]


def test_the_kept_checkpoint_is_the_best_or_the_last() -> None:
    history = [{"step": 1, "eval_loss": 0.5}, {"step": 2, "loss": 0.4}, {"step": 3, "eval_loss": 0.6}]
    assert [kept(history, True), kept(history, False), kept(history[1:2], True)] == [history[0], history[2], None]


def test_a_history_of_an_unknown_stage_has_curves_too() -> None:
    history = [{"clip_fraction": 0.1, "step": 1}, {"clip_fraction": 0.2, "step": 2}]
    assert [panel.title for panel in panels(history)] == ["Clip fraction"]
    assert points(history, "clip_fraction") == [(1, 0.1), (2, 0.2)]


# -- tables and examples ---------------------------------------------------------------------------------------------


def test_costs_add_up_over_the_lineage() -> None:
    rows = {row.label: list(row.cells) for row in cost_rows(usual(RATE))}
    assert rows["dpo"] == ["—", "10 s"]
    assert rows["All together"] == ["30 s", "70 s"]  # base, data, sft; and publish, collect, preferences, dpo
    assert rows["Rankings used (simulated)"] == ["—", "90"]
    assert rows["Trainable parameters"] == ["—", "1.4 M"]


def test_metrics_are_told_apart_by_policy_even_where_names_hold_slashes() -> None:
    parts = chain()
    seen = told(
        {"sft": parts["sft"], "my/sft": parts["dpo"]}, {"sft": {"kl": 0.0}, "my/sft": {"kl": 3.0, "novel": 7.0}}
    )
    cells = {row.meaning.label: row.cells for row in metric_rows(seen)}
    assert cells == {"KL": [("0.00", ""), ("3.00", "")], "Novel": [("—", ""), ("7", "")]}


def test_people_are_read_in_words() -> None:
    (given,) = people(usual(RATE))
    rows = {name: (value, words) for name, value, words in given.rows}
    assert given.simulated
    assert rows["Ties"][1].endswith("25% of what was compared")
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


# -- the page --------------------------------------------------------------------------------------------------------


def page(tmp_path: Path, artifact: Artifact, rows: list[dict[str, Any]], examples: int = 4) -> str:
    path = tmp_path / "report.html"
    write_report(path, artifact, rows, examples)
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
        "How good, and how sure",
        "How training went",
        "What each arm cost",
        "Answers side by side",
        "How it was made",
    ):
        assert heading in text
    assert "kept: step 2 of 3, evaluation loss 1.500" in text
    assert "python -m pipeline artifacts lineage evaluate@eeee" in text
    assert len(Elements(html).of("polyline", "train")) == 2
    assert text.index("DPO wins 0.84") < text.index("How good")


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
    assert "Which policy is better is not shown" in text
    assert "theirs was brought along: nothing here says what it was trained on" in text
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
